// SPDX-License-Identifier: BSD-3-Clause
// Where a simulation takes the rows of experts from: a recorded run, or a made-up popularity.
#pragma once

#include "gating/routing_trace.hpp"
#include "runtime/sim/expert_loads.hpp"
#include "runtime/train/options.hpp"

#include <memory>

namespace conclave::apps {

struct RoutingSource {
  std::string trace;  // a file; empty: none
  std::string skew;   // gating::parse_skew; empty: uniform, if there is no trace
  /// "popularity zipf:1.0", "routing of FILE".
  [[nodiscard]] std::string text() const;
};

/// The trace that a source names, to be read once however often it is asked; null where popularity is made up.
/// InputError for both of the options, and for a file that is no trace.
[[nodiscard]] std::shared_ptr<const gating::RoutingTrace> recorded_routing(const RoutingSource& source);

/// What comes to the experts of the workload's MoE layers in a pass; `recorded` is recorded_routing(source). Of a
/// trace: a case for each recorded layer and step, of up to most_traced_cases evenly chosen ones, its counts scaled to
/// the workload's tokens. InputError for a wrong skew, for a trace of other experts, and for routers that made-up
/// popularity says nothing of.
[[nodiscard]] std::vector<sim::ExpertLoads> expert_loads(const RoutingSource& source,
                                                         const gating::RoutingTrace* recorded,
                                                         const train::TrainOptions& options,
                                                         const sim::Workload& workload);
inline constexpr Index most_traced_cases = 64;

/// What one layer of a recorded step kept, scaled to the workload's tokens, of a pass; without a name.
[[nodiscard]] sim::ExpertLoads loads_of_step(const gating::RoutingSizes& sizes, const gating::RoutingStep& step,
                                             Index layer, const sim::Workload& workload);

/// The same of a trace that is read already; `path` names it in errors.
[[nodiscard]] std::vector<sim::ExpertLoads> traced_loads(const gating::RoutingTrace& trace, const std::string& path,
                                                         const sim::Workload& workload);

}  // namespace conclave::apps
