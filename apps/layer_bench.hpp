// SPDX-License-Identifier: BSD-3-Clause
// One MoE layer on some ranks with drawn weights and tokens, and the bare products of its experts: what measurements of
// a layer call.
#pragma once

#include "apps/bare_experts.hpp"
#include "apps/moe_case.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "runtime/model/memory_need.hpp"
#include "runtime/model/moe_layer.hpp"
#include "runtime/model/step_report.hpp"

namespace conclave::apps {

/// Tokens of a step and the groups they form, over all ranks.
struct StepSize {
  Index tokens = 0;
  Index groups = 0;
};

class LayerBench {
 public:
  /// The case must be settled; what is referred to must outlive the object. Collective over `ranks`, as is all else.
  LayerBench(const MoeCase& c, StepSize size, const model::Ranks& ranks);

  void forward_backward();
  /// Times of each phase in each forward_backward() so far, on this rank.
  [[nodiscard]] const std::vector<std::array<double, num_phases>>& phases() const { return phases_; }
  /// And for how long rows were on their way (PhaseTimes::communication_s).
  [[nodiscard]] const std::vector<double>& communication_s() const { return communication_s_; }

  /// The bare products of the rows that the last forward_backward() brought to the experts: shared out evenly over all
  /// experts, or where they truly went.
  [[nodiscard]] BareExperts bare_experts(bool balanced) const;

  /// What this rank's part of the layer keeps, by formula, and the tokens that it is given and gives back.
  [[nodiscard]] double memory_need(const plan::RowTransport& transport) const;

  /// What the last forward_backward() did, over all ranks.
  [[nodiscard]] model::LayerStatistics statistics() const;

 private:
  const MoeCase& case_;
  const comm::Communicator& world_;
  ParameterList replicated_;
  model::MoeLayer<float> layer_;
  plan::ReducePlan plan_;
  model::GroupGradients<float> gradients_;
  PhaseTimes times_;
  model::Step step_;
  Matrix<float> values_;           // [1, replicated parameters]
  Matrix<float> x_, y_, dx_, dy_;  // [tokens here, width]
  std::vector<std::int32_t> token_ids_;
  std::vector<std::array<double, num_phases>> phases_;
  std::vector<double> communication_s_;
};

/// For its lifetime, products are computed by another library.
class GemmScope {
 public:
  explicit GemmScope(GemmBackend backend) : before_(gemm_backend()) { use_gemm_backend(backend); }
  ~GemmScope() { use_gemm_backend(before_); }
  GemmScope(const GemmScope&) = delete;
  GemmScope& operator=(const GemmScope&) = delete;

 private:
  GemmBackend before_;
};

/// Every library that products can be computed by here.
[[nodiscard]] std::vector<GemmBackend> gemm_backends();

/// The library that computes the experts' products in less time, on the slowest rank. Collective.
[[nodiscard]] GemmBackend faster_backend(const comm::Communicator& world, BareExperts& bare);

}  // namespace conclave::apps
