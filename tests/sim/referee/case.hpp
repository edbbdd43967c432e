// SPDX-License-Identifier: BSD-3-Clause
// Exchanges whose times an independent simulator has found: SimGrid (Casanova et al., JPDC 2014). The table of them is
// checked in, so that the tests need no SimGrid.
#pragma once

#include "runtime/sim/exchange_model.hpp"

namespace conclave::sim {

struct RefereeCase {
  std::string name;
  Cluster cluster;
  Traffic traffic;  // pairs of whole bytes, as SimGrid has them
  Strategy strategy = Strategy::flat;
  double time_s = 0.0;  // SimGrid's, until the last byte has arrived
};

/// What of a time may be rounding. SimGrid and the tier fluid both take rates for equal that differ by less.
inline constexpr double referee_tolerance = 1e-9;

/// The cases of a table such as simgrid_table.json: {"clusters": {name: a cluster file's object}, "cases": [{"name",
/// "cluster": one of those, "traffic", "time_s"}]}, with "strategy" for one that is not flat. A traffic is one of
///   {"bytes_per_rank": B, "popularity": "uniform", "one", all for rank 0, or "zipf", rank d in proportion to 1/(d+1)}
///   {"pairs": [[from, to, bytes], ...]}
///   {"seed": n, "mean_bytes": m, "density": p, "skew": k}: a pair has something to send with probability p, evenly
///     around m times the popularity of its destination, which is (k + 1) u^k, u even in (0, 1).
/// InputError for a text that is no such table.
[[nodiscard]] std::vector<RefereeCase> referee_cases(std::string_view table);

/// What the simulator says of a case: the tier fluid with exact ends of flows, or rounds where its strategy has rounds.
[[nodiscard]] double simulated_s(const RefereeCase& exchange);

}  // namespace conclave::sim
