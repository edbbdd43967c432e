// SPDX-License-Identifier: BSD-3-Clause
#include "apps/layer_bench.hpp"

#include "apps/bench.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/core/reduction_tree.hpp"

namespace conclave::apps {

LayerBench::LayerBench(const MoeCase& c, StepSize size, const model::Ranks& ranks)
    : case_(c),
      world_(*ranks.communicator),
      layer_(replicated_, "",
             {c.width, c.router, experts::expert_shapes(c.experts, c.width, c.router.experts),
              experts::shared_shapes(c.experts, c.width), 1.0},
             1, 0, ExpertMap::contiguous(c.router.experts, world_.size()), ranks),
      plan_(replicated_.size(), size.groups, world_.size()),
      gradients_(plan_, world_.rank()) {
  const Range mine = plan_.groups_of(world_.rank());
  step_ = {.number = 0,
           .training = true,
           .num_groups = size.groups,
           .num_groups_in_pass = size.groups,
           .first_group = mine.begin,
           .groups = {mine.size(), size.tokens / size.groups},
           .times = &times_};
  values_.resize(1, replicated_.size());
  draw_parameters(c, replicated_, values_.flat());
  for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
    const ParameterList& list = layer_.shard().parameters(LocalExpertId{i});
    initialise<float>(list, {0, list.size()}, 1, layer_.shard().values(LocalExpertId{i}));
  }
  for (Matrix<float>* m : {&x_, &dy_, &y_, &dx_}) m->resize(step_.groups.total_rows(), c.width);
  draw_tokens(c, step_.first_token(0), x_.view(), token_ids_);
  const Random random(2, RandomStream::initial, 1);
  for (Index t = 0; t < dy_.rows(); ++t) {
    for (Index i = 0; i < dy_.cols(); ++i) {
      dy_(t, i) = static_cast<float>(random.normal(i, step_.first_token(0).value() + t));
    }
  }
}

void LayerBench::forward_backward() {
  times_.clear();
  const ParameterView<const float> values(values_.flat());
  layer_.forward(values, step_, x_.view(), token_ids_, y_.view());
  layer_.shard().clear_gradients();
  layer_.backward(values, step_, x_.view(), token_ids_, dy_.view(), 1.0, dx_.view(), gradients_);
  gradients_.clear();
  if (layer_.base().size() > 0) layer_.base_gradients().clear();
  phases_.push_back(times_.all());
  communication_s_.push_back(times_.communication_s());
}

double LayerBench::memory_need(const plan::RowTransport& transport) const {
  const auto shapes = experts::expert_shapes(case_.experts, case_.width, case_.router.experts);
  const std::vector<Index>& rows = layer_.rows_per_local_expert();
  const auto rows_here = static_cast<double>(std::accumulate(rows.begin(), rows.end(), Index{0}));
  const plan::MoeLayerSizes sizes = model::moe_layer_sizes(case_.router, shapes, case_.width, x_.rows(), rows_here,
                                                           layer_.map().experts_of(world_.rank()), transport);
  double elements = static_cast<double>(4 * x_.size() + 2 * values_.size());
  if (const Index base = layer_.base().size(); base > 0) {
    elements +=
        static_cast<double>(base) + model::gradient_sums(layer_.base_plan(), world_.rank(), base, num_threads());
  }
  return plan::total_bytes(plan::moe_layer_memory(sizes)) + plan::library_memory(transport, num_threads()).bytes +
         static_cast<double>(sizeof(float)) * elements;
}

BareExperts LayerBench::bare_experts(bool balanced) const {
  const auto shapes = experts::expert_shapes(case_.experts, case_.width, case_.router.experts);
  std::vector<experts::ExpertShape> mine;
  std::vector<Index> rows = layer_.rows_per_local_expert();
  const Index all_rows = world_.sum(std::accumulate(rows.begin(), rows.end(), Index{0}));
  const std::vector<ExpertId> ids = layer_.map().experts_of(world_.rank());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    mine.push_back(shapes[static_cast<std::size_t>(ids[i].value())]);
    if (balanced) rows[i] = even_share(all_rows, case_.router.experts, ids[i].value()).size();
  }
  return {mine, rows};
}

model::LayerStatistics LayerBench::statistics() const {
  return model::collect_statistics<float>(world_, step_, {&layer_}).front();
}

std::vector<GemmBackend> gemm_backends() {
  std::vector<GemmBackend> result;
  for (const auto& entry : enum_names(GemmBackend{})) {
    if (has_gemm_backend(entry.value)) result.push_back(entry.value);
  }
  return result;
}

GemmBackend faster_backend(const comm::Communicator& world, BareExperts& bare) {
  const std::vector<GemmBackend> backends = gemm_backends();
  std::vector<std::function<void()>> things;
  for (const GemmBackend backend : backends) {
    things.emplace_back([&bare, backend] {
      const GemmScope scope(backend);
      bare.run();
    });
  }
  const std::vector<Timings> timings = timed_in_turn(world, 3, Across::slowest_rank, things);
  const auto best = std::min_element(timings.begin(), timings.end(),
                                     [](const Timings& a, const Timings& b) { return a.median() < b.median(); });
  return backends[static_cast<std::size_t>(best - timings.begin())];
}

}  // namespace conclave::apps
