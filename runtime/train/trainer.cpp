// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/trainer.hpp"

#include "comm/plan/reduction_tree.hpp"
#include "gating/losses.hpp"

#include <chrono>

namespace conclave::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Trainer::Trainer(const TrainOptions& options, const Samples& dataset, const comm::Communicator& communicator)
    : options_(options),
      dataset_(dataset),
      communicator_(communicator),
      transport_(options.transport, communicator),
      model_(model::make_model<float>(options.model, dataset.shape(), options.seed, transport_.ranks())),
      optimizer_(options.optimizer, *model_, transport_.ranks(), options.groups_in_pass(), times_),
      watch_(options.collapse, options.model.router) {}

StepRecord Trainer::step() {
  const Clock::time_point start = Clock::now();
  times_.clear();
  Passes passes;
  for (Index pass = 0; pass < options_.passes; ++pass) train_pass(pass, passes);

  StepRecord record;
  record.learning_rate = learning_rate(options_.optimizer, step_, options_.steps);
  {
    const PhaseScope scope(times_, Phase::optimizer);
    record.gradient_norm = optimizer_.update(step_, record.learning_rate);
    record.layers = model::merge_passes(passes.statistics);
    update_selection_biases(record.layers);
  }
  record.step = ++step_;
  record.tokens = options_.tokens_in_step();
  record.drops = std::move(passes.drops);
  model::order_by_layer(record.drops);
  record.alarms = watch_.add(record.step, record.layers);
  record.loss = plan::tree_sum(passes.group_nats) / static_cast<double>(options_.targets_in_step());
  record.loss_unit = loss_unit(options_.task == Task::classify);
  for (const model::LayerStatistics& s : record.layers) record.router_loss += s.weighted_loss(options_.model.router);
  const std::array<double, 4> row{static_cast<double>(step_), record.loss, record.gradient_norm, record.learning_rate};
  history_.values.insert(history_.values.end(), row.begin(), row.end());
  ++history_.rows;
  time_record(seconds_since(start), record);
  return record;
}

void Trainer::train_pass(Index pass, Passes& passes) {
  const Range mine = even_share(options_.groups_in_pass(), communicator_.size(), communicator_.rank().value());
  const Index rows = options_.sequences_in_group() * dataset_.tokens_in_sample();
  const Index first_group = pass * options_.groups_in_pass() + mine.begin;
  {
    const PhaseScope scope(times_, Phase::data);
    const Index in_group = options_.sequences_in_group();
    dataset_.read_batch(Split::train, step_ * options_.sequences + first_group * in_group, mine.size() * in_group,
                        batch_);
  }
  const model::Step step{.number = step_,
                         .training = true,
                         .num_groups = options_.groups,
                         .num_groups_in_pass = options_.groups_in_pass(),
                         .first_group = first_group,
                         .groups = {mine.size(), rows},
                         .times = &times_,
                         .domains = batch_.domains};
  model_->forward_backward(step, batch_.view(), optimizer_.pass_gradients());
  {
    const PhaseScope scope(times_, Phase::reduce);
    optimizer_.end_pass();
  }
  const PhaseScope scope(times_, Phase::other);
  std::vector<double> nats;
  for (const model::LossSums& sums : model_->group_losses()) nats.push_back(sums.nats);
  const std::vector<double> all = comm::gather_groups(communicator_, nats);
  passes.group_nats.insert(passes.group_nats.end(), all.begin(), all.end());
  passes.statistics.push_back(model::collect_statistics<float>(communicator_, step, layers()));
  if (!options_.drop_ledger) return;
  const std::vector<model::DropRecord> drops = model::collect_drops<float>(communicator_, step, layers());
  passes.drops.insert(passes.drops.end(), drops.begin(), drops.end());
}

// The biases are part of the gate: they move when it does.
void Trainer::update_selection_biases(const std::vector<model::LayerStatistics>& statistics) {
  if (!moves(options_.optimizer, ModelPart::gate, step_)) return;
  const auto moe_layers = model_->moe_layers();
  for (std::size_t l = 0; l < moe_layers.size(); ++l) {
    if (moe_layers[l]->selection_bias().empty()) continue;
    gating::update_selection_bias<float>(statistics[l].load, options_.model.router.bias_rate,
                                         moe_layers[l]->selection_bias());
  }
}

// The step's and its phases' times over all ranks.
void Trainer::time_record(double seconds, StepRecord& record) {
  std::vector<double> mine(times_.all().begin(), times_.all().end());
  mine.push_back(seconds);
  const std::vector<double> all = communicator_.gather_all<double>(mine);
  for (std::size_t r = 0; r < static_cast<std::size_t>(communicator_.size()); ++r) {
    const std::span<const double> row = std::span(all).subspan(r * mine.size(), mine.size());
    for (std::size_t p = 0; p < num_phases; ++p) {
      PhaseSpread& spread = record.phases[p];
      spread.min_s = r == 0 ? row[p] : std::min(spread.min_s, row[p]);
      spread.max_s = std::max(spread.max_s, row[p]);
      spread.mean_s += row[p] / static_cast<double>(communicator_.size());
    }
    record.seconds = std::max(record.seconds, row.back());
  }
}

std::vector<const model::MoeLayer<float>*> Trainer::layers() {
  const auto moe_layers = model_->moe_layers();
  return {moe_layers.begin(), moe_layers.end()};
}

Evaluation Trainer::evaluate(Split split, Index sequences) {
  Evaluation evaluation = train::evaluate(
      *model_, dataset_, {split, sequences, options_.sequences_in_group(), options_.groups_in_pass()}, communicator_);
  evaluation.step = step_;
  return evaluation;
}

CheckpointHeader Trainer::header(const std::map<std::string, std::string>& config,
                                 const std::map<std::string, std::string>& record) const {
  CheckpointHeader header;
  header.config = config;
  header.record = record;
  header.integers["step"] = step_;
  header.integers["sequences_seen"] = step_ * options_.sequences;
  header.integers["tokens_seen"] = step_ * options_.tokens_in_step();
  header.integers["seed"] = options_.seed;
  const model::DataShape shape = dataset_.shape();
  header.integers["vocabulary"] = shape.vocabulary;
  if (shape.classes > 0) {
    header.integers["features"] = shape.features;
    header.integers["classes"] = shape.classes;
  }
  dataset_.store(header);
  header.integers["data_fingerprint"] = static_cast<std::int64_t>(dataset_.fingerprint());
  header.tables["history"] = history_;
  return header;
}

std::filesystem::path Trainer::save(const std::map<std::string, std::string>& config,
                                    const std::map<std::string, std::string>& record) {
  return write_checkpoint(communicator_, options_.out, step_, options_.keep, header(config, record),
                          optimizer_.parts());
}

void Trainer::begin_save(AsyncCheckpoint& async, const std::map<std::string, std::string>& config,
                         const std::map<std::string, std::string>& record) {
  async.begin(options_.out, step_, header(config, record), optimizer_.parts());
}

void Trainer::restore(const std::filesystem::path& checkpoint, const CheckpointHeader& header) {
  const auto integer = [&](const std::string& name) { return integer_of(header, name, checkpoint); };
  if (integer("data_fingerprint") != static_cast<std::int64_t>(dataset_.fingerprint())) {
    throw InputError(fmt::format("{} was trained on other data than '{}'", checkpoint.string(), dataset_.description()),
                     dataset_.shape().classes == 0
                         ? "give the same --data, or start a new run"
                         : "give the same --data, the same fractions of it and the same scales, or start a new run");
  }
  for (const auto& [name, value] : {std::pair<std::string, Index>{"seed", options_.seed},
                                    {"sequences_seen", integer("step") * options_.sequences},
                                    {"tokens_seen", integer("step") * options_.tokens_in_step()}}) {
    if (integer(name) == value) continue;
    throw InputError(
        fmt::format("{} has {} = {}, this run's options make it {}", checkpoint.string(), name, integer(name), value),
        "seed, sequences and context cannot change within a run: the order of the data depends on them");
  }
  const std::vector<TensorPart> parts = optimizer_.parts();
  read_tensors(communicator_, checkpoint, parts);
  optimizer_.share_values();
  step_ = integer("step");
  const auto history = header.tables.find("history");
  if (history != header.tables.end()) history_ = history->second;
}

void Trainer::start_from(const std::filesystem::path& checkpoint, const CheckpointHeader& header) {
  const model::ModelOptions source = model_options(header);
  if (!options_.start.upcycle) {
    refuse_other_model(source, options_.model);
    load_values(checkpoint, communicator_, *model_);
    return;
  }
  refuse_to_upcycle(options_.start, source, options_.model);
  const auto dense = model::make_model<float>(source, dataset_.shape(), options_.seed, transport_.ranks());
  load_values(checkpoint, communicator_, *dense);
  upcycle(options_.start, options_.seed, *dense, *model_);
}

}  // namespace conclave::train
