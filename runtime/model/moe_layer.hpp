// SPDX-License-Identifier: BSD-3-Clause
// The mixture-of-experts layer, distributed: where gate, exchange and experts meet.
//
//   y_t = sum over the kept choices j of token t:  g_{t,j} f_{e_j}(x_t)   + shared experts' f(x_t)
//
// or the mean or the maximum of the f_{e_j}(x_t), or nothing where these vote (fusion.hpp).
//
// gate      each group routes its tokens: experts e_j and gates g_{t,j}
// dispatch  a copy of x_t travels to each e_j's rank
// experts   every rank computes its experts on their rows
// combine   the results travel back and are fused, in choice order
//
// Backward goes the same way: a copy of dy_t travels to each e_j's rank, with g_{t,j}, and dx_t is the sum of what
// comes back. The partial sums of the weights' gradients of experts with replicas travel to these experts' homes.
#pragma once

#include "experts/expert_shard.hpp"
#include "experts/options.hpp"
#include "gating/dispatch_plan.hpp"
#include "gating/router.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/model/dense_feed_forward.hpp"
#include "runtime/model/expert_traffic.hpp"
#include "runtime/model/fusion.hpp"
#include "runtime/model/group_gradients.hpp"
#include "runtime/model/host_shares.hpp"
#include "runtime/model/replica_traffic.hpp"
#include "runtime/model/step.hpp"
#include "runtime/model/wave_inboxes.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace conclave::model {

/// What a layer is made of. `experts` and `shared` have a shape each; all have the layer's width. Experts with deltas
/// have all the same shape: they share a base.
struct MoeShape {
  Index width = 0;
  gating::RouterOptions router;
  std::vector<experts::ExpertShape> experts;
  std::vector<experts::ExpertShape> shared;
  double output_scale = 1.0;  // on the initial deviation of the experts' output matrices
  Fusion fusion = Fusion::weighted;
  Index block_rows = experts::default_block_rows;  // how experts' rows are cut; bits depend on it
};

template <class T>
class MoeLayer {
 public:
  /// Registers the router's and the shared experts' tensors in `replicated` under `prefix`; makes the experts that
  /// `map` has this rank host, named "<prefix>expert/0007/", and their base, "<prefix>base/", with its initial values.
  /// `layer` is the layer's number in random draws. InputError if experts share a base and `map` is not contiguous, or
  /// has replicas.
  MoeLayer(ParameterList& replicated, const std::string& prefix, MoeShape shape, Index seed, Index layer,
           const ExpertMap& map, const Ranks& ranks);

  /// y = moe(x), both [local tokens, width]; token_ids as many. Collective. Keeps what backward needs: x, its copies at
  /// the experts, and the experts' results.
  void forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
               std::span<const std::int32_t> token_ids, MatrixView<T> y);

  /// The adjoint of the last forward, of the same x: dx = gradient of the objective and of loss_scale times the layer's
  /// losses (with their coefficients) with respect to x. Replicated parameters' gradients go to `gradients`, the
  /// experts' are added up in the shard. dx must not overlap dy. Collective.
  void backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                std::span<const std::int32_t> token_ids, ConstMatrixView<T> dy, double loss_scale, MatrixView<T> dx,
                GroupGradients<T>& gradients);

  /// Gives the replicas of experts the values that these have at home; to be called wherever those were changed.
  /// Collective.
  void share_values() { replica_traffic_.share_values(); }

  /// What came back for this rank's tokens in the last forward.
  [[nodiscard]] KeptResults<T> results() const { return {plan_, gates_, results_.arrived()}; }
  /// With Fusion::vote: where the gradients of the results and of the gates must stand before backward, all of them. To
  /// be called once on every rank after forward. Collective.
  [[nodiscard]] ResultGradients<T> vote_gradients();

  [[nodiscard]] const MoeShape& shape() const { return shape_; }
  [[nodiscard]] const std::string& prefix() const { return prefix_; }
  /// The number of the block that the layer is in.
  [[nodiscard]] Index layer() const { return layer_; }
  [[nodiscard]] experts::ExpertShard<T>& shard() { return shard_; }
  [[nodiscard]] const ExpertMap& map() const { return map_; }
  /// The tensors of any expert of the layer, as its owner has them.
  [[nodiscard]] ParameterList expert_parameters(ExpertId expert) const;
  /// The tensors that all experts share, none or a base; every rank has their values, shard().base_values(), whole.
  [[nodiscard]] const ParameterList& base() const { return base_; }
  /// The base's gradient is a sum over the experts, in the fixed tree whose leaves they are: how ranks sum it, and this
  /// rank's partial sums since they were last cleared.
  [[nodiscard]] const plan::ReducePlan& base_plan() const { return base_plan_; }
  [[nodiscard]] GroupGradients<T>& base_gradients();
  /// The router's and the shared experts' places among the replicated parameters.
  [[nodiscard]] Range router_parameters() const { return router_parameters_; }
  [[nodiscard]] Range shared_parameters() const {
    return shared_.empty() ? Range{} : Range{shared_.front().parameters().begin, shared_.back().parameters().end};
  }
  /// [num_experts], or empty: state that selection adds to the scores and that no gradient reaches.
  [[nodiscard]] std::span<T> selection_bias() { return selection_bias_; }
  /// Which rows the last forward sent to whom.
  [[nodiscard]] const ExpertTraffic& traffic() const { return traffic_; }
  /// Rows that the last forward brought here for each of the experts that this rank hosts.
  [[nodiscard]] const std::vector<Index>& rows_per_local_expert() const { return traffic_.rows_per_local_expert(); }
  /// What the last forward decided for each of this rank's groups.
  [[nodiscard]] const gating::RouterTape<T>& routed(Index local_group) const {
    return *tapes_[static_cast<std::size_t>(local_group)];
  }

 private:
  void route(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
             std::span<const std::int32_t> token_ids);
  void route_backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                      std::span<const std::int32_t> token_ids, double loss_scale, MatrixView<T> dx,
                      GroupGradients<T>& gradients) const;
  void forward_wave(Index wave, const Step& step);
  void backward_wave(Index wave, const Step& step);
  void enter_wave(Index wave, const Step& step) const;
  void leave_waves(const Step& step) const;
  void base_backward();
  void tell_counts(const Step& step);
  void begin_experts();
  void gather_rows(Index wave, ConstMatrixView<T> x);
  [[nodiscard]] ResultGradients<T> open_d_results();
  void scale_d_results(Index wave);
  void combine(const GroupRows& groups, MatrixView<T> y);
  void add_shared(ParameterView<const T> values, const GroupRows& groups, ConstMatrixView<T> x, MatrixView<T> y);
  void combine_backward(const GroupRows& groups, ConstMatrixView<T> dy);
  void gather_backward(const GroupRows& groups, MatrixView<T> dx);
  [[nodiscard]] std::span<const Index> tokens_sent(Index wave) const;
  void poll();
  [[nodiscard]] gating::RouterInput<T> router_input(const Step& step, ConstMatrixView<T> x,
                                                    std::span<const std::int32_t> token_ids, Index group) const;
  void count_claims_of_step(const Step& step);
  void lay_out_rows(const Step& step);

  MoeShape shape_;
  std::string prefix_;
  Index layer_;
  ExpertMap map_;
  Ranks ranks_;
  Range router_parameters_;
  std::unique_ptr<gating::Router<T>> router_;
  std::vector<DenseFeedForward<T>> shared_;
  ParameterList base_;
  plan::ReducePlan base_plan_;
  std::optional<GroupGradients<T>> base_gradients_;  // made when first needed: evaluation never does
  experts::ExpertShard<T> shard_;
  ReplicaTraffic<T> replica_traffic_;
  std::vector<T> selection_bias_;

  // Where rows arrive, wave by wave. What forward's two exchanges brought stays for backward.
  ExpertWaves waves_;
  WaveInboxes<T> expert_x_;    // [rows here, width] copies of x in the experts' order
  WaveInboxes<T> results_;     // [rows sent, width] the experts' results in sending order
  WaveInboxes<T> d_expert_y_;  // [rows here, width] gradients of the results, in the experts' order
  WaveInboxes<T> weights_;     // [rows here, 1] where the results enter a sum: what scales these gradients
  WaveInboxes<T> d_copies_;    // [rows sent, width] gradients of the copies of x, in sending order

  // What else forward leaves for backward.
  std::vector<std::unique_ptr<gating::RouterTape<T>>> tapes_;  // one a local group
  std::vector<Index> step_counts_;  // counted claims over the step, if the balance loss looks at it
  HostShares host_shares_;
  gating::DispatchPlan plan_;
  ExpertTraffic traffic_;
  std::vector<Index> rows_of_experts_;  // [experts here] from all ranks, at all of their hosts
  std::vector<T> gates_;                // [kept choices] by token, then choice
  std::vector<T> d_gates_;              // [kept choices]

  Matrix<T> shared_y_;  // [local tokens, width] one shared expert's results
};

}  // namespace conclave::model
