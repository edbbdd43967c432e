// SPDX-License-Identifier: BSD-3-Clause
#include "apps/inspect_routing.hpp"

#include "apps/bench.hpp"
#include "apps/loaded_model.hpp"
#include "apps/router_options.hpp"
#include "apps/routing_view.hpp"
#include "runtime/core/at.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"
#include "runtime/train/evaluator.hpp"

#include <unistd.h>

namespace conclave::apps {
namespace {

void refuse_unsuited(const InspectRoutingOptions& o, const LoadedModel& loaded) {
  const model::ModelOptions& model = loaded.language_model().options();
  if (loaded.model->moe_layers().empty()) {
    throw InputError(fmt::format("{} has no MoE layer (moe_every = {})", loaded.file.string(), model.moe_every),
                     "inspect the routing of a model that was trained with moe_every of 1 or more");
  }
  if (std::ssize(o.sentence) > model.context) {
    throw InputError(fmt::format("a sentence of {} bytes with context = {}", o.sentence.size(), model.context),
                     fmt::format("give at most {} bytes", model.context));
  }
}

// Counts of an evaluation. Collective.
train::RoutingCensus census_of(const InspectRoutingOptions& o, LoadedModel& loaded, const train::Samples& dataset,
                               const comm::Communicator& world) {
  const auto& moe_layers = loaded.model->moe_layers();
  train::RoutingCensus census({moe_layers.begin(), moe_layers.end()}, loaded.options.model.router.experts,
                              dataset.shape().vocabulary, dataset.num_domains().value_or(0));
  const train::Evaluation evaluation = train::evaluate(
      *loaded.model, dataset,
      {train::Split::validation, o.sequences, loaded.options.sequences_in_group(), loaded.options.groups_in_pass()},
      world, nullptr, [&](const model::Step& step, const train::Batch& batch) { census.add_pass(step, batch); });
  if (evaluation.tokens == 0) {
    throw InputError(fmt::format("nothing is held out of {} with validation_fraction = {}", dataset.description(),
                                 loaded.options.data.validation_fraction),
                     "look at other text with --data, or train with a validation_fraction above 0");
  }
  census.share(world);
  return census;
}

// Where the sentence goes, on the root: it is the only group, the root's. Collective.
SentencePath path_of(const std::string& sentence, const LoadedModel& loaded, const comm::Communicator& world) {
  SentencePath path{.text = sentence, .layers = {}};
  if (sentence.empty()) return path;
  const Index here = even_share(1, world.size(), world.rank().value()).size();
  invariant(here == (world.is_root() ? 1 : 0), "{} groups of one on rank {}", here, world.rank().value());
  std::vector<std::int32_t> tokens;
  if (here > 0) {
    for (const char c : sentence) tokens.push_back(static_cast<unsigned char>(c));
  }
  const std::vector<Index> begin(at(here), 0);
  const std::vector<TokenId> first_tokens(at(here), TokenId{0});
  const model::Continuation continued{begin, begin, first_tokens};
  PhaseTimes times;
  const model::Step step{.number = 0,
                         .training = false,
                         .first_group = world.is_root() ? 0 : 1,
                         .groups = {here, std::ssize(sentence)},
                         .times = &times,
                         .notes_not_finite = true,
                         .continued = &continued};
  model::KeyValueCache<float> cache(loaded.options.model, here);
  static_cast<void>(loaded.language_model().next_logits(step, tokens, cache));
  if (here == 0) return path;
  for (const model::MoeLayer<float>* layer : loaded.model->moe_layers()) {
    std::vector<PathStep>& steps = path.layers.emplace_back();
    for (Index t = 0; t < std::ssize(sentence); ++t) {
      const auto kept = layer->routed(0).routing.kept_of(t);
      steps.push_back(kept.empty() ? PathStep{} : PathStep{kept.front().expert.value(), kept.front().gate});
    }
  }
  return path;
}

}  // namespace

void describe(InspectRoutingOptions& o, OptionTable& table) {
  table.add("data", o.data, "routing: other text than the run's own, of which the held-out part is used");
  table.add("sequences", o.sequences, "routing: held-out sequences, from the first; 0: all");
  table.add("sentence", o.sentence,
            "routing: a text, at most a context long, whose bytes are followed through all layers");
  table.add("html", o.html, "routing: a file for all of it as one HTML page");
}

void inspect_routing(const InspectRoutingOptions& o, const std::string& checkpoint, const Session& session) {
  refuse_unwritable(session.world, "html", o.html);
  if (o.sequences < 0) throw InputError(fmt::format("sequences = {}", o.sequences), "give 0 (all) or more");
  LoadedModel loaded = load_model(session, checkpoint, -1.0, {}, "");
  refuse_unsuited(o, loaded);
  if (!o.data.empty()) loaded.options.data.data = o.data;
  const auto dataset = checked_samples(session.world, loaded.options);
  const train::RoutingCensus census = census_of(o, loaded, *dataset, session.world);
  const SentencePath path = path_of(o.sentence, loaded, session.world);
  // Behind a launcher stdout may look like a terminal wherever the launcher writes to.
  const bool on_terminal = session.world.size() == 1 && isatty(STDOUT_FILENO) == 1;
  train::on_root(session.world, [&] {
    std::vector<LayerView> layers;
    for (std::size_t l = 0; l < census.layers().size(); ++l) {
      layers.push_back({loaded.model->moe_layers()[l]->layer(), census.experts(), census.layers()[l]});
    }
    const std::vector<std::string> names = dataset->domain_names();
    const std::string title = fmt::format("{}, step {}", loaded.file.string(), loaded.step);
    const std::string on = fmt::format("on {} tokens of {}", census.tokens(), dataset->description());
    fmt::print("{}, {}\n{}", title, on, text_of(layers, names));
    if (!path.text.empty()) fmt::print("{}", text_of(path, layers, on_terminal));
    if (o.html.empty()) return;
    std::vector<PageSection> sections = routing_sections(layers, names, path);
    sections.insert(sections.begin(), {.heading = "Who serves what", .paragraphs = {on}});
    train::replace_file(o.html, std::string_view(page_text(title, sections)));
  });
}

}  // namespace conclave::apps
