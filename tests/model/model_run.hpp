// SPDX-License-Identifier: BSD-3-Clause
// A whole model on the ranks of a communicator: so that runs on different numbers of ranks can be compared, and
// differentiated numerically.
#pragma once

#include "comm/mpi/slice_gather.hpp"
#include "runtime/model/model.hpp"
#include "tests/model/moe_run.hpp"

#include <algorithm>

namespace conclave::test {

/// The samples of a step, over all ranks, in equal groups.
template <class T>
struct StepSamples {
  model::DataShape shape;
  Index tokens_in_sample = 1;
  Index samples_in_group = 1;
  std::vector<std::int32_t> tokens;   // [tokens]
  std::vector<std::int32_t> targets;  // [tokens], or [samples] where there are classes
  std::vector<std::int32_t> lengths;  // [samples], or empty
  std::vector<T> features;            // [samples, shape.features]
  std::vector<T> teacher{};           // [tokens, shape.vocabulary] logits to learn from, or empty
  model::SoftTargets<T> mind{};       // how much: its logits are those of `teacher`

  [[nodiscard]] Index group_rows() const { return samples_in_group * tokens_in_sample; }
  [[nodiscard]] Index num_groups() const { return std::ssize(tokens) / group_rows(); }
  [[nodiscard]] Index num_targets() const {
    return std::ranges::count_if(targets, [](std::int32_t target) { return target != model::no_target; });
  }
  /// Those of a rank's groups.
  [[nodiscard]] model::BatchView<T> local(const model::Step& step) const {
    const auto of = [&](const auto& all, Index each) {
      if (all.empty()) return std::span(all);
      return std::span(all).subspan(static_cast<std::size_t>(step.first_group * each),
                                    static_cast<std::size_t>(step.groups.num_groups * each));
    };
    const std::span<const T> x = of(features, samples_in_group * shape.features);
    const Index rows = shape.features == 0 ? 0 : std::ssize(x) / shape.features;
    const std::span<const T> logits = of(teacher, group_rows() * shape.vocabulary);
    model::SoftTargets<T> soft = mind;
    if (!teacher.empty()) soft.logits = as_matrix(logits, std::ssize(logits) / shape.vocabulary, shape.vocabulary);
    return {of(tokens, group_rows()),
            of(targets, shape.classes > 0 ? samples_in_group : group_rows()),
            of(lengths, samples_in_group),
            {x.data(), rows, shape.features, shape.features},
            soft};
  }
};

/// A model on the ranks of a communicator, and one step's samples, everything seen whole from every rank. All members
/// but the plainly local ones are collective.
template <class T>
class ModelRun {
 public:
  /// A step of num_passes passes with as many groups each.
  ModelRun(const model::ModelOptions& options, StepSamples<T> samples, const comm::Communicator& communicator,
           Index num_passes = 1)
      : communicator_(communicator),
        exchange_(comm::make_exchange("flat", communicator)),
        ranks_{&communicator, exchange_.get()},
        model_(model::make_model<T>(options, samples.shape, 3, ranks_)),
        samples_(std::move(samples)),
        num_groups_(samples_.num_groups()),
        plan_(model_->replicated().size(), num_groups_ / num_passes, communicator.size()),
        gradients_(plan_, communicator.rank()) {}

  /// Replaces the initial values, whose differences are small, by ones of size 1.
  void spread_values() {
    std::vector<T> point = drawn(model_->replicated(), 100);
    Index what = 1000;
    for (const model::MoeLayer<T>* layer : model_->moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        append(drawn(layer->expert_parameters(ExpertId{e}), what += 10), point);
      }
    }
    move_to(point);
  }

  /// All parameters: the replicated ones, then each layer's experts.
  [[nodiscard]] std::vector<T> point() {
    std::vector<T> all(model_->values().begin(), model_->values().end());
    append(of_experts([](auto& shard, LocalExpertId i) { return shard.values(i); }), all);
    return all;
  }
  void move_to(std::span<const T> point) {
    const std::span<T> values = model_->values();
    std::copy_n(point.begin(), values.size(), values.begin());
    auto next = point.begin() + std::ssize(values);
    for (model::MoeLayer<T>* layer : model_->moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        const Index size = layer->expert_parameters(ExpertId{e}).size();
        const std::vector<ExpertId>& mine = layer->map().experts_of(communicator_.rank());
        const auto at = std::ranges::find(mine, ExpertId{e});
        if (at != mine.end()) std::copy_n(next, size, layer->shard().values(LocalExpertId{at - mine.begin()}).begin());
        next += size;
      }
    }
    ASSERT_TRUE(next == point.end());
  }
  [[nodiscard]] std::vector<Range> tensors() {
    std::vector<Range> result;
    Index offset = append_tensors(model_->replicated(), 0, result);
    for (const model::MoeLayer<T>* layer : model_->moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        offset = append_tensors(layer->expert_parameters(ExpertId{e}), offset, result);
      }
    }
    return result;
  }

  /// Forward and backward of all passes: the gradient in the layout of point(). Leaves losses() behind.
  std::vector<T> gradient() {
    std::vector<T> whole(static_cast<std::size_t>(plan_.num_elements()), T{0});
    const Range slice = plan_.slice_of(communicator_.rank());
    for (model::MoeLayer<T>* layer : model_->moe_layers()) layer->shard().clear_gradients();
    clear_losses();
    for (Index pass = 0; pass < num_passes(); ++pass) {
      gradients_.clear();
      const model::Step step = step_of(pass);
      model_->forward_backward(step, samples_.local(step), gradients_);
      comm::reduce_scatter<T>(
          plan_, communicator_, *exchange_, gradients_.partial_sums(),
          std::span(whole).subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size())));
      take_losses(step);
    }
    comm::all_gather_slices<T>(plan_, *exchange_, whole);
    append(of_experts([](auto& shard, LocalExpertId i) { return shard.gradient(i); }), whole);
    return whole;
  }

  /// Mean loss plus the weighted losses of all layers, forward only, at a point.
  double objective(std::span<const T> point) {
    move_to(point);
    clear_losses();
    for (Index pass = 0; pass < num_passes(); ++pass) {
      const model::Step step = step_of(pass);
      model_->evaluate(step, samples_.local(step));
      take_losses(step);
    }
    double sum = mean_loss();
    for (const model::LayerStatistics& s : statistics()) sum += s.weighted_loss(model_->options().router);
    return sum;
  }

  [[nodiscard]] double mean_loss() const {
    double sum = 0.0;
    for (const double nats : group_nats_) sum += nats;
    return sum / static_cast<double>(samples_.num_targets());
  }
  /// Of the last gradient() or objective(): each group's loss, in order, and each sample's class.
  [[nodiscard]] const std::vector<double>& group_nats() const { return group_nats_; }
  [[nodiscard]] const std::vector<model::LayerStatistics>& statistics() const { return statistics_; }

  [[nodiscard]] const std::vector<std::int32_t>& predictions() const { return predictions_; }

  [[nodiscard]] model::Model<T>& model() { return *model_; }
  [[nodiscard]] const StepSamples<T>& samples() const { return samples_; }
  [[nodiscard]] StepSamples<T>& samples() { return samples_; }
  [[nodiscard]] Index group_rows() const { return samples_.group_rows(); }
  [[nodiscard]] model::Step step_of(Index pass) {
    const Range groups = plan_.groups_of(communicator_.rank());
    model::Step step{6,
                     true,
                     num_groups_,
                     plan_.num_groups(),
                     pass * plan_.num_groups() + groups.begin,
                     {groups.size(), group_rows()},
                     &times_};
    step.num_targets = samples_.num_targets();
    return step;
  }

 private:
  [[nodiscard]] Index num_passes() const { return plan_.num_groups() == 0 ? 1 : num_groups_ / plan_.num_groups(); }
  static std::vector<T> drawn(const ParameterList& list, Index what) {
    std::vector<T> values;
    for (const ParameterEntry& entry : list.entries()) {
      const bool lookup = entry.name == "embedding";
      const double deviation = entry.decays && !lookup ? 1.0 / std::sqrt(static_cast<double>(entry.tensor.cols)) : 1.0;
      const double mean = entry.initial.constant;
      append(random_values<T>(entry.tensor.size(), what++, entry.decays ? deviation : 0.3, mean), values);
    }
    return values;
  }
  static Index append_tensors(const ParameterList& list, Index offset, std::vector<Range>& to) {
    for (const ParameterEntry& entry : list.entries()) {
      to.push_back({offset + entry.tensor.offset, offset + entry.tensor.range().end});
    }
    return offset + list.size();
  }
  std::vector<T> of_experts(const auto& part) {
    std::vector<T> all;
    for (model::MoeLayer<T>* layer : model_->moe_layers()) {
      std::vector<T> here;
      for (Index i = 0; i < layer->shard().num_experts(); ++i) append(part(layer->shard(), LocalExpertId{i}), here);
      append(communicator_.gather_all(std::span<const T>(here)), all);
    }
    return all;
  }
  void clear_losses() {
    group_nats_.clear();
    predictions_.clear();
    statistics_.clear();
  }
  void take_losses(const model::Step& step) {
    std::vector<double> nats;
    for (const model::LossSums& loss : model_->group_losses()) nats.push_back(loss.nats);
    append(communicator_.gather_all<double>(nats), group_nats_);
    append(communicator_.gather_all(std::span<const std::int32_t>(model_->predictions())), predictions_);
    const std::vector<model::MoeLayer<T>*> layers = model_->moe_layers();
    const auto of_pass = model::collect_statistics<T>(communicator_, step, {layers.begin(), layers.end()});
    statistics_.resize(of_pass.size());
    for (std::size_t l = 0; l < of_pass.size(); ++l) statistics_[l].add(of_pass[l]);
  }

  const comm::Communicator& communicator_;
  std::unique_ptr<comm::Exchange> exchange_;
  model::Ranks ranks_;
  std::unique_ptr<model::Model<T>> model_;
  StepSamples<T> samples_;
  Index num_groups_;
  plan::ReducePlan plan_;
  model::GroupGradients<T> gradients_;
  PhaseTimes times_;
  std::vector<double> group_nats_;                  // [groups]
  std::vector<std::int32_t> predictions_;           // [samples]
  std::vector<model::LayerStatistics> statistics_;  // [layers] over all passes
};

}  // namespace conclave::test
