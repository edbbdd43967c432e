// SPDX-License-Identifier: BSD-3-Clause
#include "apps/routing_source.hpp"

#include "apps/training_workload.hpp"
#include "gating/popularity.hpp"
#include "runtime/train/routing_file.hpp"

namespace conclave::apps {
sim::ExpertLoads loads_of_step(const gating::RoutingSizes& s, const gating::RoutingStep& step, Index layer,
                               const sim::Workload& w) {
  const double scale =
      static_cast<double>(w.tokens()) / static_cast<double>(s.groups * s.group_tokens) / static_cast<double>(w.passes);
  sim::ExpertLoads loads;
  for (const Index rows : by_expert(s, step.kept, layer)) {
    loads.rows.push_back({scale * static_cast<double>(rows), 0.0, 0.0});
  }
  for (Index source = 0; source < s.classes && s.classes <= w.groups; ++source) {
    std::vector<double>& rows = loads.by_source.emplace_back();
    for (Index e = 0; e < s.experts; ++e) {
      rows.push_back(scale * static_cast<double>(step.kept[static_cast<std::size_t>(s.place(layer, source, e))]));
    }
  }
  for (const Index claims : by_expert(s, step.claimed, layer)) loads.claimed += scale * static_cast<double>(claims);
  return loads;
}

std::vector<sim::ExpertLoads> traced_loads(const gating::RoutingTrace& trace, const std::string& path,
                                           const sim::Workload& w) {
  if (trace.sizes.experts != w.moe.num_experts()) {
    throw InputError(
        fmt::format("'{}' is of {} experts, the configuration of {}", path, trace.sizes.experts, w.moe.num_experts()),
        "record a run of this configuration, or simulate with --skew");
  }
  if (trace.steps.empty()) {
    throw InputError(fmt::format("'{}' has no step", path), "record a run that does some steps");
  }
  const Index all = std::ssize(trace.steps) * trace.sizes.layers;
  const Index cases = std::min(all, most_traced_cases);
  std::vector<sim::ExpertLoads> loads;
  for (Index c = 0; c < cases; ++c) {
    const auto& step = trace.steps[static_cast<std::size_t>(std::ssize(trace.steps) * c / cases)];
    const Index layer = c % trace.sizes.layers;
    loads.push_back(loads_of_step(trace.sizes, step, layer, w));
    loads.back().name = fmt::format("MoE layer {}, step {}", layer, step.step);
  }
  return loads;
}

std::string RoutingSource::text() const {
  return trace.empty() ? fmt::format("popularity {}", skew.empty() ? "uniform" : skew)
                       : fmt::format("routing of {}", trace);
}

std::shared_ptr<const gating::RoutingTrace> recorded_routing(const RoutingSource& source) {
  if (!source.trace.empty() && !source.skew.empty()) {
    throw InputError(fmt::format("routing = {} with skew = {}", source.trace, source.skew),
                     "give one of them: what was recorded, or made-up popularity");
  }
  if (source.trace.empty()) return nullptr;
  return std::make_shared<const gating::RoutingTrace>(train::read_routing(source.trace));
}

std::vector<sim::ExpertLoads> expert_loads(const RoutingSource& source, const gating::RoutingTrace* recorded,
                                           const train::TrainOptions& options, const sim::Workload& w) {
  if (recorded != nullptr) return traced_loads(*recorded, source.trace, w);
  refuse_router_without_trace(options);
  const gating::SkewOptions skew = source.skew.empty() ? gating::SkewOptions{} : gating::parse_skew(source.skew);
  return {sim::expected_loads(w, gating::expert_popularity(skew, w.moe.num_experts()))};
}

}  // namespace conclave::apps
