// SPDX-License-Identifier: BSD-3-Clause
#include "apps/train_case.hpp"

#include "apps/bare_experts.hpp"
#include "apps/option_text.hpp"
#include "apps/router_options.hpp"
#include "apps/train_options.hpp"
#include "runtime/core/parallel.hpp"

namespace conclave::apps {
namespace {

// Of the rows of one MoE layer.
double expert_flops(const train::TrainOptions& o, const model::LayerStatistics& layer) {
  const auto shapes = experts::expert_shapes(o.model.experts, o.model.width, o.model.router.experts);
  double flops = 0.0;
  for (std::size_t e = 0; e < shapes.size(); ++e) {
    flops += static_cast<double>(layer.load[e]) * BareExperts({shapes[e]}, {1}).flops();
  }
  return (1.0 - layer.drop_rate()) * flops;
}

}  // namespace

void describe(TrainCase& c, OptionSections& sections) { describe_training(c.train, sections); }

void refuse_unused(const Session& session, const std::set<std::string>& unused) {
  for (const std::string& name : session.given) {
    if (!unused.contains(name) || session.from_file.contains(name)) continue;
    throw InputError(fmt::format("option '{}' has no effect here", flag_of(name)),
                     "it says nothing about what is measured: leave it out");
  }
}

const std::set<std::string>& options_beside_the_step() {
  static const std::set<std::string> names{
      "collapse_alarm",   "collapse_window",  "drop_ledger", "eval_every",     "eval_sequences",
      "explain_router",   "hang_timeout",     "init_from",   "init_matching",  "keep_every",
      "keep_last",        "metrics_textfile", "mtbf",        "on_nan",         "on_nan_limit",
      "on_save_failure",  "placement_within", "out",         "record_routing", "requeue",
      "resume",           "skip_steps",       "steps",       "stop_after",     "straggler_alarm",
      "straggler_window", "time_limit",       "time_margin", "upcycle",        "upcycle_noise",
      "upcycle_split"};
  return names;
}

std::unique_ptr<train::Samples> settle(TrainCase& c, const Session& session) {
  settle_router(session, std::nullopt, c.train);
  train::validate(c.train);
  train::refuse_teacher(c.train.distil, "what is measured here are steps without one");
  apply(c.train.compute);
  return checked_samples(session.world, c.train);
}

std::string size_text(const train::TrainOptions& o, const comm::Communicator& world) {
  return fmt::format("{} layers of width {}, {} experts, {} samples of {} tokens, {} ranks, {} threads", o.model.layers,
                     o.model.width, o.model.moe_every == 0 ? 0 : o.model.router.experts, o.sequences,
                     o.tokens_in_sample(), world.size(), num_threads());
}

double step_flops(const train::TrainOptions& o, const model::Model<float>& model, const train::StepRecord& step) {
  double flops = 0.0;
  for (const ParameterEntry& entry : model.replicated().entries()) {
    const bool looked_up = entry.name == "embedding" && !o.model.tied_head;
    if (entry.shape.size() < 2 || looked_up) continue;
    const Index rows = entry.name.starts_with("head") ? o.targets_in_step() : step.tokens;
    flops += 6.0 * static_cast<double>(rows) * static_cast<double>(entry.tensor.size());
  }
  if (o.kind() != model::ModelKind::feature_classifier) {
    const double pairs = static_cast<double>(step.tokens) * 0.5 * static_cast<double>(o.model.context + 1);
    flops += 12.0 * pairs * static_cast<double>(o.model.width * o.model.layers);
  }
  for (const model::LayerStatistics& layer : step.layers) flops += expert_flops(o, layer);
  return flops;
}

}  // namespace conclave::apps
