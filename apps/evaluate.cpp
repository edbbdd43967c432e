// SPDX-License-Identifier: BSD-3-Clause
// The command `evaluate`: loss and metrics of a checkpoint on held-out data.
#include "apps/class_report.hpp"
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/loaded_model.hpp"
#include "apps/router_options.hpp"
#include "apps/text_generation.hpp"
#include "apps/text_scoring.hpp"
#include "runtime/core/at.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/evaluator.hpp"
#include "runtime/train/text_pairs.hpp"

#include <algorithm>
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
  std::string references;
  Index reference_tokens = 256;
  infer::ScoreUnit score_unit = infer::ScoreUnit::words;
  std::string exchange;
  ComputeOptions compute;
};

void describe(EvaluateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Evaluation");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("data", o.data,
            "other data of the kind that the run had (of text, the held-out part is used); empty: the run's own");
  table.add(
      "split", o.split,
      "the part of the data: validation, train, all (for a file that the run has not seen), or a classifier's test; "
      "of text to go on with, validation or all");
  table.add("sequences", o.sequences, "sequences or samples, from the first; 0: all");
  table.add("capacity_factor", o.capacity_factor,
            "0: no limit, as for references unless given; negative: the run's eval_capacity_factor");
  table.add("references", o.references,
            "in place of the loss: a file of prompt<TAB>reference lines, maybe more references behind more tabs; the "
            "likeliest text behind each prompt, up to a line break, is compared with them");
  table.add("reference_tokens", o.reference_tokens, "references: bytes that the model adds to a prompt, at most");
  table.add("score_unit", o.score_unit, "what BLEU and ROUGE-L compare");
  table.add("exchange", o.exchange,
            "how rows travel between ranks: " + model::exchange_names() + "; empty: as in the run");
  conclave::describe(o.compute, table);
}

// Of which data there are which parts.
void refuse_unknown_split(const EvaluateOptions& o, const LoadedModel& loaded) {
  if (loaded.encoding) return;
  const bool has_pairs = loaded.options.data.data_format == train::DataFormat::pairs;
  const bool has_text = !loaded.options.data.data.empty();
  if (o.split == train::Split::validation || (o.split == train::Split::all && has_text)) return;
  if (o.split == train::Split::train && has_pairs) return;
  throw InputError(fmt::format("split = {} of {}", name_of(o.split),
                               has_pairs  ? "pairs"
                               : has_text ? "text"
                                          : "the synthetic corpus"),
                   has_pairs  ? "give train, validation or all"
                   : has_text ? "give validation or all: training text comes in windows that move"
                              : "its held-out part is validation: leave split out");
}

// Other data than the run's own must be of the same kind.
void use_data(const EvaluateOptions& o, LoadedModel& loaded) {
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

void print_layers(const train::Evaluation& e, double capacity_factor) {
  for (std::size_t l = 0; l < e.layers.size(); ++l) {
    const model::LayerStatistics& s = e.layers[l];
    fmt::print(
        "  layer {:<6} capacity factor {}: dropped {:.2f} %, tokens left out {:.2f} %; load max/mean {:.2f}, {:.2f} "
        "effective experts of {}, {} dead, entropy {:.3f} nats\n",
        l, capacity_factor, 100.0 * s.drop_rate(), 100.0 * s.unserved_rate(), s.imbalance(), s.effective_experts(),
        s.load.size(), s.dead_experts(), s.entropy);
  }
  for (std::size_t l = 0; l < e.layer_agreement.size(); ++l) {
    fmt::print("  agreement    {:.3f} between the experts of layers {} and {} (0 none, 1 full)\n", e.layer_agreement[l],
               l, l + 1);
  }
}

void print_head(const LoadedModel& loaded, const std::string& data) {
  fmt::print("{}, step {}, on {}\n", loaded.file.string(), loaded.step, data);
}

void print_evaluation(const LoadedModel& loaded, const train::Samples& dataset, const train::Evaluation& e) {
  print_head(loaded, dataset.description());
  for (const std::string& notice : dataset.notices()) fmt::print("  {}\n", notice);
  fmt::print("  loss         {:.6f} {} over {}\n", e.loss, e.loss_unit, e.size_text());
  if (loaded.encoding) {
    fmt::print("  {}\n{}", class_summary(e.confusion, e.accuracy), class_report(e.confusion, dataset.class_names()));
  } else {
    fmt::print("  perplexity   {:.4f}, {:.4f} bits/byte\n", std::exp(e.loss), e.loss / std::numbers::ln2);
    fmt::print("  accuracy     {:.2f} %\n", 100.0 * e.accuracy);
  }
  if (dataset.entropy()) {
    fmt::print("  floor        {:.6f} nats/token, {:.6f} below\n", *dataset.entropy(), e.loss - *dataset.entropy());
  }
  print_layers(e, loaded.options.model.router.eval_capacity_factor);
}

// The likeliest text behind each prompt. Collective.
std::vector<std::string> written_texts(const LoadedModel& loaded, const Session& session,
                                       const std::vector<ReferenceText>& wanted, Index most_tokens) {
  std::vector<infer::Prompt> prompts;
  for (const ReferenceText& text : wanted) {
    prompts.push_back({prompt_tokens(loaded.options, text.prompt), std::ssize(prompts), 0});
  }
  infer::GeneratorOptions options{.choice = {.temperature = 0.0}, .tokens = most_tokens, .end = '\n'};
  options.batch = std::min(options.batch, std::ssize(prompts));
  infer::Generator generator = make_generator(loaded, session, options);
  const Clock::time_point start = Clock::now();
  const auto tokens = generator.generate(prompts);
  if (session.world.is_root()) fmt::print(stderr, "{}\n", speed_text(tokens, seconds_since(start)));
  std::vector<std::string> texts;
  for (const auto& text : tokens) texts.push_back(text_of(text));
  return texts;
}

// The pairs that were looked at, in their order.
std::vector<ReferenceText> references_of(const train::TextPairs& pairs, const EvaluateOptions& o) {
  const Index all = pairs.num_sequences(o.split);
  std::vector<ReferenceText> wanted;
  for (Index n = 0; n < (o.sequences > 0 ? std::min(all, o.sequences) : all); ++n) {
    const train::TextPair pair = pairs.pair(o.split, n);
    wanted.push_back({std::string(pair.source), {std::string(pair.target)}});
  }
  return wanted;
}

int run_references(const EvaluateOptions& o, const LoadedModel& loaded, const Session& session) {
  if (o.reference_tokens < 1) {
    throw InputError(fmt::format("reference_tokens = {}", o.reference_tokens), "give 1 or more");
  }
  std::vector<ReferenceText> wanted;
  train::agreed(session.world, [&] { wanted = read_references(o.references); });
  if (o.sequences > 0 && o.sequences < std::ssize(wanted)) wanted.resize(at(o.sequences));
  const std::vector<std::string> written = written_texts(loaded, session, wanted, o.reference_tokens);
  if (!session.world.is_root()) return 0;
  print_head(loaded, o.references);
  fmt::print("{}", scores_text(scores_of(wanted, written, o.score_unit), o.score_unit));
  return 0;
}

int run(const EvaluateOptions& o, const Session& session) {
  if (std::isnan(o.capacity_factor))
    throw InputError("capacity_factor = nan", "give a number; negative: the run's own");
  if (o.sequences < 0) throw InputError(fmt::format("sequences = {}", o.sequences), "give 0 (all) or more");
  // Nothing is dropped of a text that is written, unless it is asked for.
  const double factor = o.references.empty() || session.given.contains("capacity_factor") ? o.capacity_factor : 0.0;
  LoadedModel loaded = load_model(session, o.checkpoint, factor, o.compute, o.exchange);
  if (!o.references.empty()) return run_references(o, loaded, session);
  use_data(o, loaded);
  refuse_unknown_split(o, loaded);
  const auto dataset = checked_samples(session.world, loaded.options, loaded.encoding ? &*loaded.encoding : nullptr);
  const train::Evaluation e = train::evaluate(
      *loaded.model, *dataset,
      {o.split, o.sequences, loaded.options.sequences_in_group(), loaded.options.groups_in_pass()}, session.world);
  if (e.tokens == 0) throw nothing_to_evaluate(o, loaded, *dataset);
  if (session.world.is_root()) print_evaluation(loaded, *dataset, e);
  const auto* pairs = dynamic_cast<const train::TextPairs*>(dataset.get());
  if (pairs == nullptr) return 0;
  const std::vector<ReferenceText> wanted = references_of(*pairs, o);
  const std::vector<std::string> written = written_texts(loaded, session, wanted, pairs->context());
  if (session.world.is_root()) fmt::print("{}", scores_text(scores_of(wanted, written, o.score_unit), o.score_unit));
  return 0;
}

}  // namespace

Command evaluate_command() {
  return make_command<EvaluateOptions>("evaluate", "loss and metrics of a checkpoint on held-out data", "", describe,
                                       run);
}

}  // namespace conclave::apps
