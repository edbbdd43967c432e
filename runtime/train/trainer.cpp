// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/trainer.hpp"

#include "gating/losses.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/span_recorder.hpp"

#include <fmt/ranges.h>

namespace conclave::train {
namespace {

std::vector<const model::MoeLayer<float>*> moe_layers_of(model::Model<float>& model) {
  const auto layers = model.moe_layers();
  return {layers.begin(), layers.end()};
}

/// A rank's numbers that travel with a step's report: the times of the phases, and these.
/// Those of the layers follow.
enum ReportNumber : std::size_t {
  at_communication = num_phases,
  at_seconds,
  at_request,
  at_not_finite,
  at_saving,
  at_layers
};

model::Ranks placed(model::Ranks ranks, std::span<const ExpertMap> placement) {
  ranks.placement = placement;
  return ranks;
}

}  // namespace

Trainer::Trainer(const TrainOptions& options, const Samples& dataset, const comm::Communicator& communicator,
                 std::span<const ExpertMap> placement)
    : options_(options),
      dataset_(dataset),
      communicator_(communicator),
      transport_(options.transport, communicator),
      model_(model::make_model<float>(options.model, dataset.shape(), options.seed,
                                      placed(transport_.ranks(), placement))),
      optimizer_(options.optimizer, *model_, transport_.ranks(), options.groups_in_pass(), times_),
      moe_layers_(moe_layers_of(*model_)),
      report_(communicator, moe_layers_),
      skipped_(options.not_finite.skip_steps),
      watch_(options.collapse, options.model.router),
      straggler_watch_(options.watch, communicator.size()),
      attributor_(options.model.moe_blocks(), communicator.size()),
      traffic_(transport_.exchange().topology(), communicator.rank(),
               options.model.width * transport_.row_transport().element_bytes),
      numbers_(at_layers + numbers_of_layer * static_cast<std::size_t>(options.model.layers)) {}

void Trainer::note_in(Whereabouts* whereabouts) {
  whereabouts_ = whereabouts;
  times_.note_in(whereabouts);
  note(Activity::starting);
}

void Trainer::note(Activity activity) {
  if (whereabouts_ != nullptr) whereabouts_->begin(activity, step_);
}

const StepRecord& Trainer::step(FunctionRef<Index()> request) {
  struct Recorded {  // ends however the step does
    explicit Recorded(SpanRecorder* recorder, Index step) : recorder_(recorder) {
      if (recorder_ != nullptr) recorder_->begin_step(step);
    }
    ~Recorded() {
      if (recorder_ != nullptr) recorder_->end_step();
    }
    SpanRecorder* recorder_;
  };
  const Recorded recorded(times_.recorder(), step_ + 1);
  return do_step(request);
}

const StepRecord& Trainer::do_step(FunctionRef<Index()> request) {
  const Clock::time_point start = Clock::now();
  note(Activity::training);
  times_.clear();
  record_.drops.clear();
  record_.routing.reset();
  record_.learning_rate = learning_rate(options_.optimizer, step_, options_.steps);
  num_targets_ = dataset_.num_targets(Split::train, step_ * options_.sequences, options_.sequences);
  if (skipped_.contains(step_ + 1)) {
    share_report(seconds_since(start), request());
    finish_skipped_step();
    return record_;
  }
  health_.forget();
  for (Index pass = 0; pass < options_.passes; ++pass) {
    if (times_.recorder() != nullptr) times_.recorder()->begin_pass(pass);
    train_pass(pass);
  }
  if (times_.recorder() != nullptr) times_.recorder()->end_pass();
  UpdateOutcome outcome;
  {
    const PhaseScope scope(times_, Phase::optimizer);
    outcome = optimizer_.update(step_, record_.learning_rate, skipped_, health_.is_sound());
  }
  record_.gradient_norm = outcome.gradient_norm;
  share_report(seconds_since(start), request());
  if (meets_not_finite(outcome)) {
    pass_over_or_throw(outcome.is_done);
    finish_skipped_step();
  } else {
    finish_step();
  }
  return record_;
}

void Trainer::finish_step() {
  update_selection_biases(record_.layers);
  record_.step = ++step_;
  traffic_.end_step();
  record_.tokens = options_.tokens_in_step();
  record_.skipped.clear();
  if (record_.routing) share_routing();
  model::order_by_layer(record_.drops);
  record_.alarms = watch_.add(record_.step, record_.layers);
  record_.straggler = straggler_watch_.add(record_.step, [&](RankId rank) { return report_.of_rank(rank); });
  record_.loss_unit = loss_unit(options_.task == Task::classify);
  record_.router_loss = 0.0;
  for (const model::LayerStatistics& s : record_.layers) record_.router_loss += s.weighted_loss(options_.model.router);
  add_to_history();
}

// Integers: any order of summing gives the same.
void Trainer::share_routing() {
  record_.routing->step = step_;
  for (std::vector<Index>* counts : {&record_.routing->claimed, &record_.routing->kept}) communicator_.sum(*counts);
}

// The same whether the step was told to be skipped or found to have numbers that are not finite.
void Trainer::finish_skipped_step() {
  record_.step = ++step_;
  traffic_.end_step();
  record_.tokens = 0;
  record_.skipped = skipped_.reason(step_);
  record_.drops.clear();
  record_.routing.reset();
  record_.alarms.clear();
  record_.straggler.clear();
  record_.loss_unit = loss_unit(options_.task == Task::classify);
  record_.loss = record_.gradient_norm = std::numeric_limits<double>::quiet_NaN();
  record_.router_loss = 0.0;
  for (std::size_t l = 0; l < record_.layers.size(); ++l) {
    record_.layers[l].forget();
    record_.layers[l].load.assign(static_cast<std::size_t>(moe_layers_[l]->map().num_experts()), 0);
  }
  add_to_history();
}

void Trainer::add_to_history() {
  const std::array<double, 4> row{static_cast<double>(step_), record_.loss, record_.gradient_norm,
                                  record_.learning_rate};
  history_.values.insert(history_.values.end(), row.begin(), row.end());
  ++history_.rows;
}

// The same on every rank, by what the gradients' norm and the report brought: no message of its own.
bool Trainer::meets_not_finite(const UpdateOutcome& outcome) const {
  if (!outcome.is_done) return true;
  for (RankId rank; rank < RankId{communicator_.size()}; ++rank) {
    if (report_.of_rank(rank)[at_not_finite] != 0.0) return true;
  }
  return false;
}

// Weights are looked at first: where they are not finite nothing else can be. They stay what they are when a step is
// skipped.
void Trainer::pass_over_or_throw(bool is_updated) {
  const Index step = step_ + 1;
  std::vector<std::string> found;
  const auto weight = first_not_finite(communicator_, values_among(optimizer_.parts()));
  if (weight) {
    found.push_back(weight->sentence(is_updated ? "the new value" : "the value"));
  } else {
    found = health_.sentences(communicator_);
    const auto gradient = first_not_finite(communicator_, optimizer_.gradients());
    if (gradient) found.push_back(gradient->sentence("the gradient"));
  }
  optimizer_.forget_gradients();
  const std::string what = fmt::format("step {}: {}", step, fmt::join(found, "; "));
  const NotFiniteOptions& o = options_.not_finite;
  if (o.on_nan != OnNan::skip) throw NotFiniteError(step, what, hint_to_go_on(step));
  if (weight) throw NotFiniteError(step, what, "no step that is skipped mends weights: use on_nan = rollback");
  skipped_.add(step, what);
  if (skipped_.found_in_row(step) <= o.on_nan_limit) return;
  throw NotFiniteError(step,
                       fmt::format("{}; with it more than on_nan_limit = {} steps in a row", what, o.on_nan_limit),
                       hint_to_go_on(step));
}

void Trainer::train_pass(Index pass) {
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
                         .domains = batch_.domains,
                         .notes_not_finite = true,
                         .num_targets = num_targets_};
  model::BatchView<float> batch = batch_.view();
  if (teacher_ != nullptr) {
    const PhaseScope scope(times_, Phase::other, "teacher");
    batch.soft = teacher_->targets(step, batch.tokens);
  }
  model_->forward_backward(step, batch, optimizer_.pass_gradients());
  {
    const PhaseScope scope(times_, Phase::reduce);
    optimizer_.end_pass();
  }
  const PhaseScope scope(times_, Phase::other);
  health_.add_pass(step, model_->group_losses(), moe_layers_);
  report_.add_pass(step, model_->group_losses());
  traffic_.add_pass(moe_layers_);
  if (counts_routing()) {
    if (!record_.routing) record_.routing.emplace();
    model::add_routing<float>(step, moe_layers_, routing_sizes(), *record_.routing);
  }
  if (!options_.drop_ledger) return;
  const std::vector<model::DropRecord> drops = model::collect_drops<float>(communicator_, step, moe_layers_);
  record_.drops.insert(record_.drops.end(), drops.begin(), drops.end());
}

// The biases are part of the gate: they move when it does.
void Trainer::update_selection_biases(const std::vector<model::LayerStatistics>& statistics) {
  if (!moves(options_.optimizer, ModelPart::gate, step_)) return;
  const auto& moe_layers = model_->moe_layers();
  for (std::size_t l = 0; l < moe_layers.size(); ++l) {
    if (moe_layers[l]->selection_bias().empty()) continue;
    gating::update_selection_bias<float>(statistics[l].load, options_.model.router.bias_rate,
                                         moe_layers[l]->selection_bias());
  }
}

// What is told over all ranks. The times end where it leaves: no rank can tell another how long the telling took.
void Trainer::share_report(double seconds, Index request) {
  std::ranges::copy(times_.all(), numbers_.begin());
  numbers_[at_communication] = times_.communication_s();
  numbers_[at_seconds] = seconds;
  numbers_[at_request] = static_cast<double>(request);
  numbers_[at_not_finite] = optimizer_.has_finite_values() ? 0.0 : 1.0;
  numbers_[at_saving] = std::exchange(saving_s_, 0.0);
  auto next = numbers_.begin() + at_layers;
  for (const LayerTimes& layer : times_.layers()) next = std::ranges::copy(numbers_of(layer), next).out;
  const Clock::time_point told_at = Clock::now();
  report_.share(numbers_);
  if (times_.recorder() != nullptr) times_.recorder()->add(SpanKind::wait, "report", told_at, Clock::now());
  const auto spread = [&](std::size_t number) {
    Scratch scratch;
    const std::span<double> of_ranks = scratch.values<double>(communicator_.size());
    for (std::size_t r = 0; r < of_ranks.size(); ++r)
      of_ranks[r] = report_.of_rank(RankId{static_cast<Index>(r)})[number];
    return spread_of(of_ranks);
  };
  for (std::size_t p = 0; p < num_phases; ++p) record_.phases[p] = spread(p);
  record_.communication = spread(at_communication);
  record_.seconds = spread(at_seconds).max_s;
  record_.request = {};
  for (RankId rank; rank < RankId{communicator_.size()} && record_.request.what == 0; ++rank) {
    record_.request = {static_cast<Index>(report_.of_rank(rank)[at_request]), rank};
  }
  record_.loss = report_.nats() / static_cast<double>(num_targets_);
  record_.layers = report_.layers();
  attribute();
}

void Trainer::attribute() {
  attributor_.begin(record_.attribution);
  for (RankId rank; rank < RankId{communicator_.size()}; ++rank) {
    const std::span<const double> numbers = report_.of_rank(rank);
    attributor_.take(rank, {numbers.first(num_phases), numbers[at_saving], numbers.subspan(at_layers)},
                     record_.attribution);
  }
  attributor_.finish(record_.attribution);
  const std::optional<Index> moe_layer = layer_of_experts(record_.attribution.slowest_stretch);
  if (!moe_layer) return;
  record_.attribution.slowest_expert =
      fullest_expert(record_.attribution.slowest, moe_layers_[static_cast<std::size_t>(*moe_layer)]->map(),
                     record_.layers[static_cast<std::size_t>(*moe_layer)].load);
}

Evaluation Trainer::evaluate(Split split, Index sequences) {
  note(Activity::evaluating);
  Evaluation evaluation =
      train::evaluate(*model_, dataset_, {split, sequences, options_.sequences_in_group(), options_.groups_in_pass()},
                      communicator_, whereabouts_);
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
  NumberTable skipped = skipped_.table(step_);
  if (skipped.rows > 0) header.tables["skipped"] = std::move(skipped);
  return header;
}

std::filesystem::path Trainer::save(const std::map<std::string, std::string>& config,
                                    const std::map<std::string, std::string>& record) {
  note(Activity::saving);
  return write_checkpoint(communicator_, options_.out, step_, options_.keep, header(config, record),
                          optimizer_.parts());
}

void Trainer::begin_save(AsyncCheckpoint& async, const std::map<std::string, std::string>& config,
                         const std::map<std::string, std::string>& record) {
  note(Activity::saving);
  async.begin(options_.out, step_, options_.keep, header(config, record), optimizer_.parts());
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
  const auto history = header.tables.find("history");
  if (history != header.tables.end() && (history->second.cols != 4 || history->second.rows != integer("step"))) {
    throw InputError(fmt::format("{} has a history of [{}, {}] after {} steps", checkpoint.string(),
                                 history->second.rows, history->second.cols, integer("step")),
                     "it has four numbers a step: use another checkpoint");
  }
  const std::vector<TensorPart> parts = optimizer_.parts();
  read_tensors(communicator_, checkpoint, parts);
  optimizer_.share_values();
  refuse_not_finite(communicator_, checkpoint, parts);
  step_ = integer("step");
  const auto skipped = header.tables.find("skipped");
  skipped_.resume(skipped == header.tables.end() ? NumberTable{0, 2, {}} : skipped->second, step_);
  if (history != header.tables.end()) history_ = history->second;
}

void Trainer::start_from(const std::filesystem::path& checkpoint, const CheckpointHeader& header) {
  const model::ModelOptions source = model_options(header);
  if (options_.start.init_matching) {
    refuse_to_match(source, options_.model);
    const auto other = model::make_model<float>(source, dataset_.shape(), options_.seed, transport_.ranks());
    load_values(checkpoint, communicator_, *other);
    static_cast<void>(take_matching(*other, *model_));
    return;
  }
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
