// SPDX-License-Identifier: BSD-3-Clause
// What the reference router is given and what it decides: plain rows of float64 and whole numbers, nothing taken from
// gating/ but the options' names.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/random.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>
#include <vector>

namespace conclave::test {

using Row = std::vector<double>;
using Rows = std::vector<Row>;
using IndexRow = std::vector<Index>;
using IndexRows = std::vector<IndexRow>;

/// One rule of the rule router, taken apart. Fits every token if it has no condition.
struct ReferenceRule {
  std::vector<std::pair<Index, Index>> tokens;  // first and last of each range
  std::vector<std::string> classes;
  IndexRow domains;
  IndexRow experts;  // [k]
};

/// One group and the router's parameters. S tokens, E experts.
struct ReferenceInput {
  gating::RouterOptions options;
  Rows x;                            // [S, width]
  Rows weight;                       // [E, width], or [E, gate_width] of a gate with an inner layer
  Row bias;                          // [E] or empty
  Rows inner_weight;                 // [gate_width, width] mlp: V; cosine: P
  Row inner_bias;                    // [gate_width] c
  double temperature = 0.0;          // cosine
  Rows noise_weight;                 // [E, width] or empty
  Row selection_bias;                // [E] or empty
  IndexRow token_ids;                // [S], for the routers that look at them
  IndexRow domains;                  // [S] or empty
  std::vector<ReferenceRule> rules;  // of the rule router
  Index seed = 0;
  Index layer = 0;
  Index step = 0;
  Index first_token = 0;
  bool training = true;
};

/// Token, choice, expert that was asked for, why.
using ReferenceDrop = std::tuple<Index, Index, Index, std::string>;

/// Choices are ragged: n_t of token t.
struct ReferenceRouting {
  Rows z, p, pi, q;      // [S, E] logits, scores, balance probabilities, selection scores; no rows without scores
  IndexRows choices;     // [S, n_t] best first
  IndexRows refused;     // [S, n_t] 1: a second choice that was turned down
  bool is_late = false;  // the refused take slots first
  Rows key;              // [S, n_t] the larger is served first, or no rows
  IndexRows serving;     // [S, n_t] the expert that serves the choice, -1: none
  Rows gates;            // [S, n_t] 0 where nothing serves the choice
  IndexRow load;         // [E] all choices
  IndexRow counted;      // [E] those that the balance loss counts
  std::vector<ReferenceDrop> ledger;
  Index capacity = 0;
  Index over_capacity = 0;
  Index num_refused = 0;
  Index num_unchosen = 0;
  Index num_rerouted = 0;
  Index num_unserved = 0;
  double z_sum = 0.0;
  double entropy_sum = 0.0;
  double importance = 0.0;
};

inline bool reference_holds(const IndexRow& row, Index value) {
  return std::find(row.begin(), row.end(), value) != row.end();
}

/// The lowest of the allowed places with the largest value, -1 if none is allowed.
inline Index reference_best(const Row& values, const std::function<bool(Index)>& allowed) {
  Index best = -1;
  for (Index i = 0; i < static_cast<Index>(values.size()); ++i) {
    if (allowed(i) && (best < 0 || values[static_cast<std::size_t>(i)] > values[static_cast<std::size_t>(best)]))
      best = i;
  }
  return best;
}

/// The `count` best of the allowed places, best first.
inline IndexRow reference_top(const Row& values, Index count, const std::function<bool(Index)>& allowed) {
  IndexRow top;
  for (Index n = 0; n < count; ++n) {
    top.push_back(reference_best(values, [&](Index i) { return allowed(i) && !reference_holds(top, i); }));
  }
  return top;
}

}  // namespace conclave::test
