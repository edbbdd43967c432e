// SPDX-License-Identifier: BSD-3-Clause
// The command `evaluate`: loss and metrics of a checkpoint on held-out data.
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/loaded_model.hpp"
#include "apps/router_options.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/evaluator.hpp"

#include <cmath>
#include <numbers>

namespace conclave::apps {
namespace {

struct EvaluateOptions {
  std::string checkpoint;
  std::string data;
  Index sequences = 0;
  double capacity_factor = -1.0;
  Index threads = 0;
};

void describe(EvaluateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Evaluation");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("data", o.data, "a text file or folder whose held-out part is used; empty: the run's own data");
  table.add("sequences", o.sequences, "held-out sequences, from the first; 0: all");
  table.add("capacity_factor", o.capacity_factor, "0: no limit; negative: the run's eval_capacity_factor");
  table.add("threads", o.threads, "threads a rank; 0: this rank's share of the CPUs");
}

int run(const EvaluateOptions& o, const Session& session) {
  if (std::isnan(o.capacity_factor))
    throw InputError("capacity_factor = nan", "give a number; negative: the run's own");
  if (o.sequences < 0) throw InputError(fmt::format("sequences = {}", o.sequences), "give 0 (all) or more");
  apply_threads(o.threads);
  LoadedModel loaded = load_model(session.world, o.checkpoint, o.capacity_factor);
  if (!o.data.empty()) loaded.options.data.data = o.data;
  std::unique_ptr<train::Dataset> dataset;
  train::agreed(session.world, [&] {
    dataset = make_dataset(loaded.options.data, loaded.options.model.context, loaded.options.seed);
  });
  refuse_unknown_domains(loaded.options.model, *dataset);
  const train::Evaluation e = train::evaluate(
      *loaded.model, *dataset, {o.sequences, loaded.options.sequences_in_group(), loaded.options.groups_in_pass()},
      session.world);
  if (e.tokens == 0) {
    throw InputError(fmt::format("nothing is held out of {} with validation_fraction = {}", dataset->description(),
                                 loaded.options.data.validation_fraction),
                     "evaluate on other text with --data, or train with a validation_fraction above 0");
  }
  if (!session.world.is_root()) return 0;
  fmt::print("{}, step {}, on {}\n", loaded.file.string(), loaded.step, dataset->description());
  fmt::print("  loss         {:.6f} nats/token over {} tokens\n", e.loss, e.tokens);
  fmt::print("  perplexity   {:.4f}, {:.4f} bits/byte\n", std::exp(e.loss), e.loss / std::numbers::ln2);
  fmt::print("  accuracy     {:.2f} %\n", 100.0 * e.accuracy);
  if (dataset->entropy()) {
    fmt::print("  floor        {:.6f} nats/token, {:.6f} below\n", *dataset->entropy(), e.loss - *dataset->entropy());
  }
  for (std::size_t l = 0; l < e.layers.size(); ++l) {
    const model::LayerStatistics& s = e.layers[l];
    fmt::print(
        "  layer {:<6} capacity factor {}: dropped {:.2f} %, tokens left out {:.2f} %; load max/mean {:.2f}, {:.2f} "
        "effective experts of {}, {} dead, entropy {:.3f} nats\n",
        l, loaded.options.model.router.eval_capacity_factor, 100.0 * s.drop_rate(), 100.0 * s.unserved_rate(),
        s.imbalance(), s.effective_experts(), s.load.size(), s.dead_experts(), s.entropy);
  }
  for (std::size_t l = 0; l < e.layer_agreement.size(); ++l) {
    fmt::print("  agreement    {:.3f} between the experts of layers {} and {} (0 none, 1 full)\n", e.layer_agreement[l],
               l, l + 1);
  }
  return 0;
}

}  // namespace

Command evaluate_command() {
  return make_command<EvaluateOptions>("evaluate", "loss and metrics of a checkpoint on held-out data", "", describe,
                                       run);
}

}  // namespace conclave::apps
