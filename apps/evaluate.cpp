// SPDX-License-Identifier: BSD-3-Clause
// The command `evaluate`: loss and metrics of a checkpoint on held-out data.
#include "apps/class_report.hpp"
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/loaded_model.hpp"
#include "apps/router_options.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/evaluator.hpp"

#include <cmath>
#include <numbers>

namespace conclave::apps {
namespace {

struct EvaluateOptions {
  std::string checkpoint;
  std::string data;
  train::Split split = train::Split::validation;
  Index sequences = 0;
  double capacity_factor = -1.0;
  std::string exchange;
  ComputeOptions compute;
};

void describe(EvaluateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Evaluation");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("data", o.data,
            "other data of the kind that the run had (of text, the held-out part is used); empty: the run's own");
  table.add("split", o.split,
            "the part of a classifier's data: all for a file that the run has not seen; a language model has held-out "
            "text (validation) only");
  table.add("sequences", o.sequences, "sequences or samples, from the first; 0: all");
  table.add("capacity_factor", o.capacity_factor, "0: no limit; negative: the run's eval_capacity_factor");
  table.add("exchange", o.exchange,
            "how rows travel between ranks: " + model::exchange_names() + "; empty: as in the run");
  conclave::describe(o.compute, table);
}

// Other data than the run's own must be of the same kind.
void use_data(const EvaluateOptions& o, LoadedModel& loaded) {
  if (!loaded.encoding && o.split != train::Split::validation) {
    throw InputError(fmt::format("split = {} with a language model", name_of(o.split)),
                     "text is held out for validation only: leave split out");
  }
  if (o.data.empty()) return;
  const model::ModelKind trained = loaded.options.kind();
  loaded.options.data.data = o.data;
  if (loaded.options.kind() == trained) return;
  const bool features = trained == model::ModelKind::feature_classifier;
  throw InputError(fmt::format("'{}' for a classifier of {}", o.data, features ? "feature vectors" : "texts"),
                   features ? "give an HDF5 file, its name ending in .h5 or .hdf5" : "give a file of label<TAB>text");
}

InputError nothing_to_evaluate(const EvaluateOptions& o, const LoadedModel& loaded, const train::Samples& dataset) {
  const train::DataOptions& data = loaded.options.data;
  if (loaded.encoding) {
    return InputError(
        fmt::format("the {} part of the {} is empty (validation_fraction = {}, test_fraction = {})", name_of(o.split),
                    dataset.description(), data.validation_fraction, data.test_fraction),
        "choose another --split, e.g. all");
  }
  return InputError(fmt::format("nothing is held out of {} with validation_fraction = {}", dataset.description(),
                                data.validation_fraction),
                    "evaluate on other text with --data, or train with a validation_fraction above 0");
}

int run(const EvaluateOptions& o, const Session& session) {
  if (std::isnan(o.capacity_factor))
    throw InputError("capacity_factor = nan", "give a number; negative: the run's own");
  if (o.sequences < 0) throw InputError(fmt::format("sequences = {}", o.sequences), "give 0 (all) or more");
  LoadedModel loaded = load_model(session, o.checkpoint, o.capacity_factor, o.compute, o.exchange);
  use_data(o, loaded);
  std::unique_ptr<train::Samples> dataset;
  train::agreed(session.world,
                [&] { dataset = make_samples(loaded.options, loaded.encoding ? &*loaded.encoding : nullptr); });
  refuse_unknown_domains(loaded.options.model, *dataset);
  const train::Evaluation e = train::evaluate(
      *loaded.model, *dataset,
      {o.split, o.sequences, loaded.options.sequences_in_group(), loaded.options.groups_in_pass()}, session.world);
  if (e.tokens == 0) throw nothing_to_evaluate(o, loaded, *dataset);
  if (!session.world.is_root()) return 0;
  fmt::print("{}, step {}, on {}\n", loaded.file.string(), loaded.step, dataset->description());
  for (const std::string& notice : dataset->notices()) fmt::print("  {}\n", notice);
  fmt::print("  loss         {:.6f} {} over {}\n", e.loss, e.loss_unit, e.size_text());
  if (loaded.encoding) {
    fmt::print("  {}\n{}", class_summary(e.confusion, e.accuracy), class_report(e.confusion, dataset->class_names()));
  } else {
    fmt::print("  perplexity   {:.4f}, {:.4f} bits/byte\n", std::exp(e.loss), e.loss / std::numbers::ln2);
    fmt::print("  accuracy     {:.2f} %\n", 100.0 * e.accuracy);
  }
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
