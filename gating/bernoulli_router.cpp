// SPDX-License-Identifier: BSD-3-Clause
#include "gating/bernoulli_router.hpp"

#include "gating/fixed_router.hpp"

#include <numeric>

namespace conclave::gating {
namespace {

template <class T>
class BernoulliRouter final : public FixedRouter<T> {
 public:
  BernoulliRouter(const RouterOptions& options, Index seed)
      : FixedRouter<T>(options, seed), activation_(options.activations()) {}

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    const Random random = this->random(RandomStream::bernoulli, input);
    std::vector<std::vector<std::int32_t>> active(static_cast<std::size_t>(input.x.rows));
    std::size_t most = 0;
    for (std::size_t t = 0; t < active.size(); ++t) {
      active[t] = active_experts(random, input.first_token.value() + static_cast<Index>(t));
      most = std::max(most, active[t].size());
    }
    choices.resize(input.x.rows, static_cast<Index>(most));
    choices.fill(no_expert);
    for (std::size_t t = 0; t < active.size(); ++t) {
      std::copy(active[t].begin(), active[t].end(), choices.row(static_cast<Index>(t)).begin());
    }
  }

  // The mean number active; a token that draws none is not counted in it.
  [[nodiscard]] double mean_choices() const override {
    return std::accumulate(activation_.begin(), activation_.end(), 0.0);
  }

 private:
  [[nodiscard]] std::vector<std::int32_t> active_experts(const Random& random, Index token) const {
    std::vector<std::int32_t> active;
    const auto num_experts = static_cast<Index>(activation_.size());
    for (Index e = 0; e < num_experts; ++e) {
      if (random.uniform(token, e) < activation_[static_cast<std::size_t>(e)]) {
        active.push_back(static_cast<std::int32_t>(e));
      }
    }
    if (active.empty()) {
      active.push_back(static_cast<std::int32_t>(static_cast<Index>(random.bits(token, num_experts)) % num_experts));
    }
    return active;
  }

  std::vector<double> activation_;  // [E]
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_bernoulli_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                                 const std::string&) {
  return std::make_unique<BernoulliRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_bernoulli_router(const RouterOptions&, Index, Index, ParameterList&,
                                                              const std::string&);
template std::unique_ptr<Router<double>> make_bernoulli_router(const RouterOptions&, Index, Index, ParameterList&,
                                                               const std::string&);

}  // namespace conclave::gating
