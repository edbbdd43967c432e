// SPDX-License-Identifier: BSD-3-Clause
// One MoE layer on the ranks of a communicator, its inputs and outputs seen whole from every rank: so that runs on
// different numbers of ranks can be compared, and differentiated numerically.
#pragma once

#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/step_report.hpp"
#include "tests/support/gradient_check.hpp"

#include <memory>
#include <string>
#include <vector>

namespace conclave::test {

/// A layer, and how many tokens it is given: num_groups groups of group_rows, over all ranks.
struct MoeCase {
  std::string name;
  model::MoeShape shape;
  Index num_groups = 5;
  Index group_rows = 6;
  std::string exchange = "flat";
  Index node_ranks = 0;  // as if so many ranks shared a node each; 0: those that do
  Index waves = 1;
  model::Wire wire = model::Wire::fp32;
  [[nodiscard]] Index num_tokens() const { return num_groups * group_rows; }
};

[[nodiscard]] inline plan::Topology topology_of(const MoeCase& c, const comm::Communicator& communicator) {
  if (c.node_ranks == 0) return communicator.topology();
  std::vector<Index> node_of;
  for (Index rank = 0; rank < communicator.size(); ++rank) node_of.push_back(rank / c.node_ranks);
  return plan::Topology(node_of);
}

inline void PrintTo(const MoeCase& c, std::ostream* out) { *out << c.name; }

/// The case with these groups.
[[nodiscard]] inline MoeCase with_groups(MoeCase c, Index num_groups) {
  c.num_groups = num_groups;
  return c;
}

inline void append(const auto& from, auto& to) { to.insert(to.end(), from.begin(), from.end()); }

/// Sets the number of threads as long as it lives.
class Threads {
 public:
  explicit Threads(Index count) : before_(num_threads()) { use_threads(count); }
  ~Threads() { use_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  Index before_;
};

/// Everything is given and returned over all ranks. All members but the plainly local ones are collective.
template <class T>
class MoeRun {
 public:
  static constexpr Index seed = 3;
  static constexpr Index layer_number = 1;
  static constexpr Index step_number = 4;
  static constexpr double loss_scale = 0.7;

  /// Inputs and parameters are normal draws, the same for any communicator; other for another `draw`.
  MoeRun(const MoeCase& c, const comm::Communicator& communicator, Index draw = 0)
      : MoeRun(c, communicator, draw, ExpertMap::contiguous(c.shape.router.experts, communicator.size())) {}
  /// The same with the experts where `map` puts them.
  MoeRun(const MoeCase& c, const comm::Communicator& communicator, Index draw, const ExpertMap& map)
      : case_(c),
        communicator_(communicator),
        exchange_(comm::make_exchange(c.exchange, communicator, topology_of(c, communicator))),
        layer_(replicated_, "layer/", c.shape, seed, layer_number, map,
               {&communicator, exchange_.get(), c.waves, c.wire}),
        plan_(replicated_.size(), c.num_groups, communicator.size()),
        gradients_(plan_, communicator.rank()) {
    const Range groups = plan_.groups_of(communicator.rank());
    step_ = {step_number, true, c.num_groups, c.num_groups, groups.begin, {groups.size(), c.group_rows}, &times_};
    for (Index t = 0; t < c.num_tokens(); ++t) token_ids_.push_back(static_cast<std::int32_t>((7 * t) % 13));
    if (c.shape.router.selection_bias) {
      const auto bias = random_values<T>(c.shape.router.experts, 50, 0.2);
      std::ranges::copy(bias, layer_.selection_bias().begin());
    }
    draw_inputs(draw);
  }

  void draw_inputs(Index draw) {
    const Index what = 10000 * draw;
    cotangent_ = random_values<T>(num_x(), what + 1);
    std::vector<T> point = random_values<T>(num_x(), what);
    append(drawn(replicated_, what + 100), point);
    append(drawn(layer_.base(), what + 500), point);
    for (Index e = 0; e < num_experts(); ++e) append(drawn(expert_list(e), what + 1000 + 10 * e), point);
    move_to(point);
  }

  /// x [tokens, width], then the replicated parameters, then the base that experts share, then each expert's: a point
  /// at which to differentiate.
  [[nodiscard]] const std::vector<T>& point() const { return point_; }
  void move_to(std::span<const T> point) {
    point_.assign(point.begin(), point.end());
    std::ranges::copy(part(base_range()), layer_.shard().base_values().begin());
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
      const std::span<const T> values = part(expert_range(layer_.shard().global(LocalExpertId{i}).value()));
      std::ranges::copy(values, layer_.shard().values(LocalExpertId{i}).begin());
    }
  }
  /// The tensors' places in the point; x counts as one tensor a group.
  [[nodiscard]] std::vector<Range> tensors() const {
    std::vector<Range> result;
    for (Index g = 0; g < case_.num_groups; ++g) {
      const Index size = case_.group_rows * width();
      result.push_back({g * size, (g + 1) * size});
    }
    append_tensors(replicated_, num_x(), result);
    append_tensors(layer_.base(), base_range().begin, result);
    for (Index e = 0; e < num_experts(); ++e) append_tensors(expert_list(e), expert_range(e).begin, result);
    return result;
  }

  /// y of all tokens.
  std::vector<T> forward() {
    const Matrix<T> x = local(point_);
    Matrix<T> y(x.rows(), width());
    y.fill(T{99});
    layer_.forward(values(), step_, x.view(), local_ids(), y.view());
    return communicator_.gather_all(std::as_const(y).flat());
  }

  /// After forward: the gradient of objective() in the layout of point(). adding: to the experts' gradients of before,
  /// which are their own: the base's is that of one pass.
  std::vector<T> backward(bool adding = false) {
    const Matrix<T> x = local(point_);
    const Matrix<T> dy = local(cotangent_);
    Matrix<T> dx(x.rows(), width());
    dx.fill(T{99});
    gradients_.clear();
    if (layer_.base().size() > 0) layer_.base_gradients().clear();
    if (!adding) layer_.shard().clear_gradients();
    layer_.backward(values(), step_, x.view(), local_ids(), dy.view(), loss_scale, dx.view(), gradients_);
    std::vector<T> gradient = communicator_.gather_all(std::as_const(dx).flat());
    append(reduced(plan_, gradients_), gradient);
    if (layer_.base().size() > 0) append(reduced(layer_.base_plan(), layer_.base_gradients()), gradient);
    append(expert_gradients(), gradient);
    return gradient;
  }

  [[nodiscard]] model::LayerStatistics statistics() {
    return model::collect_statistics<T>(communicator_, step_, {&layer_}).front();
  }

  /// <dy, y> and the weighted losses, at a point.
  double objective(std::span<const T> point) {
    move_to(point);
    const std::vector<T> y = forward();
    return weighted_sum(cotangent_, y) + loss_scale * statistics().weighted_loss(case_.shape.router);
  }

  [[nodiscard]] const MoeCase& of() const { return case_; }
  [[nodiscard]] const model::Step& step() const { return step_; }
  [[nodiscard]] model::Step& step() { return step_; }
  [[nodiscard]] model::MoeLayer<T>& layer() { return layer_; }
  [[nodiscard]] const ParameterList& replicated() const { return replicated_; }
  [[nodiscard]] ParameterList expert_list(Index expert) const { return layer_.expert_parameters(ExpertId{expert}); }
  [[nodiscard]] std::span<const std::int32_t> token_ids() const { return token_ids_; }
  [[nodiscard]] Index num_x() const { return case_.num_tokens() * width(); }
  /// The base's place in the point.
  [[nodiscard]] Range base_range() const {
    const Index begin = num_x() + replicated_.size();
    return {begin, begin + layer_.base().size()};
  }
  /// Expert `expert`'s place in the point.
  [[nodiscard]] Range expert_range(Index expert) const {
    Range range{base_range().end, base_range().end};
    for (Index e = 0; e <= expert; ++e) range = {range.end, range.end + expert_list(e).size()};
    return range;
  }
  [[nodiscard]] ParameterView<const T> values() const {
    return ParameterView<const T>(part({num_x(), num_x() + replicated_.size()}));
  }
  [[nodiscard]] std::span<const T> part(Range range) const {
    return std::span(point_).subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
  }

 private:
  [[nodiscard]] Index width() const { return case_.shape.width; }
  [[nodiscard]] Index num_experts() const { return case_.shape.router.experts; }

  // Matrices of deviation 1/sqrt(columns), vectors of 1/2.
  static std::vector<T> drawn(const ParameterList& list, Index what) {
    std::vector<T> values;
    for (const ParameterEntry& entry : list.entries()) {
      const double deviation = entry.decays ? 1.0 / std::sqrt(static_cast<double>(entry.tensor.cols)) : 0.5;
      append(random_values<T>(entry.tensor.size(), what++, deviation), values);
    }
    return values;
  }
  static void append_tensors(const ParameterList& list, Index offset, std::vector<Range>& to) {
    for (const ParameterEntry& entry : list.entries()) {
      to.push_back({offset + entry.tensor.offset, offset + entry.tensor.range().end});
    }
  }
  [[nodiscard]] Range local_tokens() const {
    return {step_.first_group * case_.group_rows, (step_.first_group + step_.groups.num_groups) * case_.group_rows};
  }
  [[nodiscard]] Matrix<T> local(const std::vector<T>& all) const {
    const Range rows = local_tokens();
    Matrix<T> result(rows.size(), width());
    std::copy_n(all.begin() + rows.begin * width(), result.size(), result.flat().begin());
    return result;
  }
  [[nodiscard]] std::span<const std::int32_t> local_ids() const {
    const Range rows = local_tokens();
    return std::span(token_ids_).subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
  }
  std::vector<T> reduced(const plan::ReducePlan& plan, model::GroupGradients<T>& gradients) {
    std::vector<T> whole(static_cast<std::size_t>(plan.num_elements()), T{0});
    const Range slice = plan.slice_of(communicator_.rank());
    comm::reduce_scatter<T>(
        plan, communicator_, *exchange_, gradients.partial_sums(),
        std::span(whole).subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size())));
    comm::all_gather_slices<T>(plan, *exchange_, whole);
    return whole;
  }

  // In the order of the experts, whoever has them.
  std::vector<T> expert_gradients() {
    std::vector<T> here;
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) append(layer_.shard().gradient(LocalExpertId{i}), here);
    const std::vector<T> by_owner = communicator_.gather_all(std::span<const T>(here));
    std::vector<T> ordered(by_owner.size());
    auto next = by_owner.begin();
    for (const ExpertId expert : layer_.map().by_owner()) {
      const Range range = expert_range(expert.value());
      std::copy_n(next, range.size(), ordered.begin() + (range.begin - expert_range(0).begin));
      next += range.size();
    }
    return ordered;
  }

  MoeCase case_;
  const comm::Communicator& communicator_;
  std::unique_ptr<comm::Exchange> exchange_;
  ParameterList replicated_;
  model::MoeLayer<T> layer_;
  plan::ReducePlan plan_;
  model::GroupGradients<T> gradients_;
  PhaseTimes times_;
  model::Step step_;
  std::vector<std::int32_t> token_ids_;  // [tokens]
  std::vector<T> cotangent_;             // [tokens, width]
  std::vector<T> point_;
};

/// Of each range, the place of the largest |gradient| and, if wanted, two others: enough to tell a tensor's wrong
/// gradient. Two evaluations a place are much on many ranks.
[[nodiscard]] inline std::vector<Index> telling_places(const std::vector<Range>& ranges,
                                                       std::span<const double> gradient, bool others) {
  std::vector<Index> places;
  for (const Range range : ranges) {
    if (range.empty()) continue;
    Index largest = range.begin;
    for (Index i = range.begin; i < range.end; ++i) {
      const auto magnitude = [&](Index at) { return std::abs(gradient[static_cast<std::size_t>(at)]); };
      if (magnitude(i) > magnitude(largest)) largest = i;
    }
    const Index third = range.begin + range.size() / 3;
    for (const Index place : {largest, others ? third : largest, others ? range.end - 1 : largest}) {
      if (std::ranges::find(places, place) == places.end()) places.push_back(place);
    }
  }
  return places;
}

/// Expects `gradient` to be that of `objective` at `point` in the coordinates `places`, all different.
inline void expect_gradient_at(const std::vector<Index>& places,
                               const std::function<double(std::span<const double>)>& objective,
                               std::span<const double> point, std::span<const double> gradient) {
  std::vector<double> coordinates;
  std::vector<double> analytic;
  for (const Index place : places) {
    coordinates.push_back(point[static_cast<std::size_t>(place)]);
    analytic.push_back(gradient[static_cast<std::size_t>(place)]);
  }
  std::vector<double> moved(point.begin(), point.end());
  const auto of_coordinates = [&](std::span<const double> at) {
    for (std::size_t i = 0; i < places.size(); ++i) moved[static_cast<std::size_t>(places[i])] = at[i];
    return objective(moved);
  };
  expect_gradient(of_coordinates, coordinates, analytic);
}

}  // namespace conclave::test
