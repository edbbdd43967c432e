// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/evaluator.hpp"

#include "runtime/model/step_report.hpp"
#include "runtime/train/routing_census.hpp"
#include "runtime/train/step_health.hpp"

#include <algorithm>

namespace conclave::train {
namespace {

using Layers = std::vector<const model::MoeLayer<float>*>;

// The columns of counts [rows, cols] that are not all 0.
Index cols_with_counts(const std::vector<Index>& counts, Index cols) {
  std::vector<bool> has(static_cast<std::size_t>(cols), false);
  for (std::size_t i = 0; i < counts.size(); ++i) has[i % has.size()] = has[i % has.size()] || counts[i] > 0;
  return std::ranges::count(has, true);
}

/// Adds up what passes find.
class Totals {
 public:
  Totals(const Samples& dataset, const comm::Communicator& communicator, Layers layers, Index num_experts)
      : dataset_(dataset),
        communicator_(communicator),
        layers_(std::move(layers)),
        report_(communicator, layers_),
        num_experts_(num_experts),
        confusion_(dataset.shape().classes) {
    if (layers_.size() > 1) {
      pair_counts_.assign(layers_.size() - 1,
                          std::vector<Index>(static_cast<std::size_t>(num_experts * num_experts), 0));
    }
    if (!dataset.num_domains()) return;
    domain_counts_.assign(layers_.size(),
                          std::vector<Index>(static_cast<std::size_t>(*dataset.num_domains() * num_experts), 0));
  }

  /// num_targets: of the pass, over all ranks.
  void add(const model::Step& step, const model::Model<float>& model, const Batch& batch, Index num_targets) {
    report_.add_pass(step, model.group_losses());
    for (const model::LossSums& sums : model.group_losses()) correct_ += sums.correct;
    tokens_ += step.num_groups * step.groups.rows;
    targets_ += num_targets;
    for (std::size_t i = 0; i < model.predictions().size(); ++i) {
      confusion_.add(batch.targets[i], model.predictions()[i]);
    }
    for (std::size_t l = 0; l < domain_counts_.size(); ++l) {
      count_claims(*layers_[l], step, batch.domains, domain_counts_[l]);
    }
    for (std::size_t l = 0; l < pair_counts_.size(); ++l) count_pairs(step, l);
  }

  void finish(Evaluation& evaluation) {
    evaluation.tokens = tokens_;
    if (tokens_ == 0) return;
    const bool has_classes = confusion_.classes() > 0;
    evaluation.targets = targets_;
    report_.share();
    evaluation.loss = report_.nats() / static_cast<double>(targets_);
    evaluation.loss_unit = loss_unit(has_classes);
    evaluation.accuracy = static_cast<double>(communicator_.sum(correct_)) / static_cast<double>(targets_);
    communicator_.sum(confusion_.counts());
    evaluation.confusion = confusion_;
    evaluation.layers = report_.layers();
    for (std::vector<Index>& counts : domain_counts_) {
      communicator_.sum(counts);
      const Index domains = *dataset_.num_domains();
      evaluation.domains_seen = cols_with_counts(counts, domains);
      const Information found = information(counts, num_experts_, domains);
      evaluation.domain_information.push_back(found.share());
      evaluation.domain_most_bits.push_back(found.most);
    }
    for (std::vector<Index>& counts : pair_counts_) {
      communicator_.sum(counts);
      evaluation.layer_agreement.push_back(information(counts, num_experts_, num_experts_).share());
    }
  }

 private:
  // counts[expert in this layer, expert in the next] += this rank's tokens that have one in both, by first kept choices
  void count_pairs(const model::Step& step, std::size_t layer) {
    for (Index g = 0; g < step.groups.num_groups; ++g) {
      for (Index t = 0; t < step.groups.rows; ++t) {
        const auto here = layers_[layer]->routed(g).routing.kept_of(t);
        const auto next = layers_[layer + 1]->routed(g).routing.kept_of(t);
        if (here.empty() || next.empty()) continue;
        ++pair_counts_[layer][static_cast<std::size_t>(here.front().expert.value() * num_experts_ +
                                                       next.front().expert.value())];
      }
    }
  }

  const Samples& dataset_;
  const comm::Communicator& communicator_;
  Layers layers_;
  model::StepReport<float> report_;
  Index num_experts_;
  Index tokens_ = 0;
  Index targets_ = 0;
  Confusion confusion_;                            // on this rank
  std::int64_t correct_ = 0;                       // on this rank
  std::vector<std::vector<Index>> domain_counts_;  // an MoE layer each, [experts, domains] on this rank
  std::vector<std::vector<Index>> pair_counts_;    // a pair of MoE layers each, [experts, experts]
};

// Ends the evaluation on every rank: routers have gone on with other logits.
void refuse_not_finite(const model::Step& step, const model::Model<float>& model, const Layers& layers, Range sequences,
                       const comm::Communicator& communicator) {
  if (layers.empty()) return;
  StepHealth health;
  health.add_pass(step, model.group_losses(), layers);
  const std::optional<std::string> sentence = health.router_sentence(communicator);
  if (!sentence) return;
  throw InputError(fmt::format("evaluation of sequences [{}, {}): {}", sequences.begin, sequences.end, *sentence),
                   "training has diverged, or the data has numbers that are too large: use an earlier checkpoint, or "
                   "look at the data");
}

}  // namespace

Evaluation evaluate(model::Model<float>& model, const Samples& dataset, const EvaluationShape& shape,
                    const comm::Communicator& communicator, Whereabouts* whereabouts, const PassObserver& observer) {
  const auto moe_layers = model.moe_layers();
  const Layers layers(moe_layers.begin(), moe_layers.end());
  Totals totals(dataset, communicator, layers, model.options().router.experts);
  Index remaining = dataset.num_sequences(shape.split);
  if (shape.sequences > 0) remaining = std::min(remaining, shape.sequences);
  PhaseTimes times;
  times.note_in(whereabouts);
  Batch batch;
  for (Index first = 0; remaining > 0;) {
    // Whole groups, as many as fit a pass; what is left at the end is one smaller group.
    const Index num_groups = std::max<Index>(1, std::min(shape.groups_in_pass, remaining / shape.sequences_in_group));
    const Index in_group = std::min(shape.sequences_in_group, remaining);
    const Range mine = even_share(num_groups, communicator.size(), communicator.rank().value());
    dataset.read_batch(shape.split, first + mine.begin * in_group, mine.size() * in_group, batch);
    const model::Step step{.number = 0,
                           .training = false,
                           .num_groups = num_groups,
                           .num_groups_in_pass = num_groups,
                           .first_group = mine.begin,
                           .groups = {mine.size(), in_group * dataset.tokens_in_sample()},
                           .times = &times,
                           .domains = batch.domains,
                           .notes_not_finite = true};
    model.evaluate(step, batch.view());
    refuse_not_finite(step, model, layers, {first, first + num_groups * in_group}, communicator);
    totals.add(step, model, batch, dataset.num_targets(shape.split, first, num_groups * in_group));
    if (observer) observer(step, batch);
    first += num_groups * in_group;
    remaining -= num_groups * in_group;
  }
  Evaluation evaluation;
  evaluation.split = shape.split;
  totals.finish(evaluation);
  return evaluation;
}

}  // namespace conclave::train
