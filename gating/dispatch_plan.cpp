// SPDX-License-Identifier: BSD-3-Clause
#include "gating/dispatch_plan.hpp"

#include "runtime/core/scratch.hpp"

namespace conclave::gating {

template <class T>
void DispatchPlan::assign(std::span<const Routing<T>* const> routings, std::span<const ExpertId> expert_order) {
  Scratch scratch;
  const auto place = scratch.values(std::ssize(expert_order), expert_order.size());  // of an expert in expert_order
  for (std::size_t i = 0; i < expert_order.size(); ++i) {
    const auto expert = static_cast<std::size_t>(expert_order[i].value());
    invariant(expert < place.size() && place[expert] == place.size(), "expert {} stands twice or is none of {}", expert,
              place.size());
    place[expert] = i;
  }
  const auto place_of = [&](const Assignment<T>& a) { return place[static_cast<std::size_t>(a.expert.value())]; };

  rows_per_expert_.assign(expert_order.size(), 0);
  for (const Routing<T>* routing : routings) {
    invariant(routing->counts().load.size() == place.size(), "a routing to {} experts, {} are placed",
              routing->counts().load.size(), place.size());
    for (const Assignment<T>& a : routing->kept()) ++rows_per_expert_[place_of(a)];
  }
  // a counting sort: stable, so tokens stay in order
  const std::span<Index> next_row = scratch.values<Index>(std::ssize(expert_order), 0);
  for (std::size_t i = 1; i < next_row.size(); ++i) next_row[i] = next_row[i - 1] + rows_per_expert_[i - 1];
  token_of_row_.resize(expert_order.empty() ? 0 : static_cast<std::size_t>(next_row.back() + rows_per_expert_.back()));
  row_of_choice_.clear();
  row_of_choice_.reserve(token_of_row_.size());
  first_choice_.assign(1, 0);
  Index first_token = 0;
  for (const Routing<T>* routing : routings) {
    for (Index t = 0; t < routing->num_tokens(); ++t) {
      for (const Assignment<T>& a : routing->kept_of(t)) {
        const Index row = next_row[place_of(a)]++;
        token_of_row_[static_cast<std::size_t>(row)] = first_token + t;
        row_of_choice_.push_back(row);
      }
      first_choice_.push_back(static_cast<Index>(row_of_choice_.size()));
    }
    first_token += routing->num_tokens();
  }
}

template void DispatchPlan::assign(std::span<const Routing<float>* const>, std::span<const ExpertId>);
template void DispatchPlan::assign(std::span<const Routing<double>* const>, std::span<const ExpertId>);

}  // namespace conclave::gating
