// SPDX-License-Identifier: BSD-3-Clause
#include "gating/dispatch_plan.hpp"

#include "runtime/core/scratch.hpp"

namespace conclave::gating {

template <class T>
void count_claims(std::span<const Routing<T>* const> routings, std::span<Index> claims) {
  std::ranges::fill(claims, 0);
  for (const Routing<T>* routing : routings) {
    invariant(routing->counts().load.size() == claims.size(), "a routing to {} experts of {}",
              routing->counts().load.size(), claims.size());
    for (const Assignment<T>& a : routing->kept()) ++claims[static_cast<std::size_t>(a.expert.value())];
  }
}

template <class T>
void DispatchPlan::assign(std::span<const Routing<T>* const> routings, std::span<const ExpertId> expert_order) {
  Scratch scratch;
  const std::span<Index> claims = scratch.values<Index>(std::ssize(expert_order));
  count_claims<T>(routings, claims);
  const std::span<ClaimRun> runs = scratch.values<ClaimRun>(std::ssize(expert_order));
  const std::span<char> is_placed = scratch.values<char>(std::ssize(expert_order), 0);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto e = static_cast<std::size_t>(expert_order[i].value());
    invariant(e < claims.size() && is_placed[e] == 0, "expert {} stands twice or is none of {}", e, claims.size());
    is_placed[e] = 1;
    runs[i] = {expert_order[i], 0, claims[e]};
  }
  assign<T>(routings, std::ssize(expert_order), runs);
}

namespace {

/// Where the next claim on an expert goes.
struct Cursor {
  Index row = 0;
  Index left = 0;  // rows of the run
  Index done = 0;  // claims
};

}  // namespace

template <class T>
void DispatchPlan::assign(std::span<const Routing<T>* const> routings, Index num_experts,
                          std::span<const ClaimRun> order) {
  Scratch scratch;
  const std::span<Index> first_row = scratch.values<Index>(std::ssize(order));
  const std::span<Cursor> cursors = scratch.values(num_experts, Cursor{});
  rows_per_expert_.clear();
  Index num_rows = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto e = static_cast<std::size_t>(order[i].expert.value());
    invariant(e < cursors.size(), "expert {} is none of {}", e, cursors.size());
    rows_per_expert_.push_back(order[i].rows);
    first_row[i] = num_rows;
    if (order[i].first == 0 && order[i].rows > 0) cursors[e] = {num_rows, order[i].rows};
    num_rows += order[i].rows;
  }
  token_of_row_.resize(static_cast<std::size_t>(num_rows));
  row_of_choice_.clear();
  row_of_choice_.reserve(token_of_row_.size());
  first_choice_.assign(1, 0);
  const auto go_on = [&](ExpertId expert, Cursor& cursor) {
    const auto run = std::ranges::find_if(
        order, [&](const ClaimRun& r) { return r.expert == expert && r.first == cursor.done && r.rows > 0; });
    invariant(run != order.end(), "claim {} on expert {} is in no run", cursor.done, expert.value());
    cursor.row = first_row[static_cast<std::size_t>(run - order.begin())];
    cursor.left = run->rows;
  };
  // a counting sort: stable, so tokens stay in order
  Index first_token = 0;
  for (const Routing<T>* routing : routings) {
    for (Index t = 0; t < routing->num_tokens(); ++t) {
      for (const Assignment<T>& a : routing->kept_of(t)) {
        Cursor& cursor = cursors[static_cast<std::size_t>(a.expert.value())];
        if (cursor.left == 0) go_on(a.expert, cursor);
        token_of_row_[static_cast<std::size_t>(cursor.row)] = first_token + t;
        row_of_choice_.push_back(cursor.row++);
        --cursor.left;
        ++cursor.done;
      }
      first_choice_.push_back(static_cast<Index>(row_of_choice_.size()));
    }
    first_token += routing->num_tokens();
  }
  invariant(std::ssize(row_of_choice_) == num_rows, "{} claims for {} rows", row_of_choice_.size(), num_rows);
}

#define CONCLAVE_INSTANTIATE(T)                                                                      \
  template void count_claims(std::span<const Routing<T>* const>, std::span<Index>);                  \
  template void DispatchPlan::assign(std::span<const Routing<T>* const>, std::span<const ExpertId>); \
  template void DispatchPlan::assign(std::span<const Routing<T>* const>, Index, std::span<const ClaimRun>);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::gating
