// SPDX-License-Identifier: BSD-3-Clause
#include "gating/routing.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::gating {

Index RoutingCounts::count(DropReason reason) const {
  return std::count_if(drops.begin(), drops.end(), [&](const Drop& d) { return d.reason == reason; });
}

template <class T>
Routing<T>::Routing(Index num_tokens, Index num_experts, std::vector<Assignment<T>> kept, RoutingCounts counts)
    : kept_(std::move(kept)), counts_(std::move(counts)) {
  index(num_tokens, num_experts);
}

template <class T>
void Routing<T>::assign(Index num_tokens, Index num_experts, Decide decide) {
  kept_.clear();
  counts_.load.assign(static_cast<std::size_t>(num_experts), 0);
  counts_.drops.clear();
  counts_.rerouted = 0;
  decide(kept_, counts_);
  index(num_tokens, num_experts);
}

// Checks the choices and notes where a token's begin.
template <class T>
void Routing<T>::index(Index num_tokens, Index num_experts) {
  first_.assign(static_cast<std::size_t>(num_tokens) + 1, 0);
  invariant(static_cast<Index>(counts_.load.size()) == num_experts, "{} loads for {} experts", counts_.load.size(),
            num_experts);
  const Index claims = std::accumulate(counts_.load.begin(), counts_.load.end(), Index{0});
  invariant(claims == std::ssize(kept_) + counts_.dropped(), "of {} claims {} were kept and {} dropped", claims,
            kept_.size(), counts_.dropped());
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    const Assignment<T>& a = kept_[i];
    invariant(0 <= a.token && a.token < num_tokens && 0 <= a.expert.value() && a.expert.value() < num_experts,
              "token {} of {} routed to expert {} of {}", a.token, num_tokens, a.expert.value(), num_experts);
    for (std::size_t before = i; before-- > 0 && kept_[before].token == a.token;) {
      invariant(kept_[before].expert != a.expert, "token {} routed to expert {} twice", a.token, a.expert.value());
    }
    invariant(
        i == 0 || kept_[i - 1].token < a.token || (kept_[i - 1].token == a.token && kept_[i - 1].choice < a.choice),
        "kept choices out of order at token {}, choice {}", a.token, a.choice);
    ++first_[static_cast<std::size_t>(a.token) + 1];
  }
  for (std::size_t t = 1; t < first_.size(); ++t) first_[t] += first_[t - 1];
}

template <class T>
Index Routing<T>::num_unserved() const {
  Index count = 0;
  for (std::size_t t = 1; t < first_.size(); ++t) count += first_[t] == first_[t - 1] ? 1 : 0;
  return count;
}

template class Routing<float>;
template class Routing<double>;

}  // namespace conclave::gating
