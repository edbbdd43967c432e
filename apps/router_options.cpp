// SPDX-License-Identifier: BSD-3-Clause
#include "apps/router_options.hpp"

#include "apps/command_line.hpp"
#include "apps/option_text.hpp"
#include "gating/rule_table.hpp"
#include "gating/unused_options.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

using gating::RouterOptions;

// A preset is taken when a run begins: later it could only claim what the run is not.
void refuse_new_preset(const OpenedCheckpoint& from, const std::string& preset) {
  const auto found = from.header.config.find("router_preset");
  const std::string before = found == from.header.config.end() ? "" : found->second;
  if (preset == before) return;
  throw InputError(fmt::format("router_preset = {} with resume, where the run began with {}",
                               preset.empty() ? "none" : preset, before.empty() ? "none" : before),
                   "a preset is taken when a run begins: give the single options that are to change");
}

void take_rule_file(const Session& session, train::TrainOptions& options) {
  RouterOptions& router = options.model.router;
  if (router.router != "rule") {
    throw InputError(fmt::format("rule_file = {} with router = {}", options.rule_file, router.router),
                     "rules are for --router rule");
  }
  if (session.given.contains("rules") && !router.rules.empty()) {
    throw InputError(fmt::format("rule_file = {} beside rules = {}", options.rule_file, router.rules),
                     "give one of them; --rules '' takes the place of those in a configuration file");
  }
  std::string text;
  train::on_root(session.world, [&] { text = read_file(options.rule_file); });
  text = session.world.broadcast(text);
  train::agreed(session.world, [&] {
    const auto dataset = make_samples(options);
    router.rules =
        gating::RuleTable(text, options.rule_file, {router.experts, router.top_k, dataset->domain_names()}).text();
  });
  options.rule_file.clear();
}

// A configuration file of a whole run gives all options: those that are as they would be anyhow are no news.
std::vector<std::string> given_without_effect(RouterOptions options, const std::set<std::string>& given) {
  RouterOptions expected;
  expected.router_preset = options.router_preset;
  expected.experts = options.experts;
  expected.top_k = options.top_k;
  gating::apply_preset(expected, {"top_k"});
  OptionTable now;
  OptionTable usual;
  describe(options, now);
  describe(expected, usual);
  std::vector<std::string> result;
  for (const gating::UnusedOption& unused : gating::unused_options(options)) {
    if (!given.contains(unused.name) || now.find(unused.name)->text() == usual.find(unused.name)->text()) continue;
    result.push_back(fmt::format("{} ({})", flag_of(unused.name), unused.reason));
  }
  return result;
}

std::string combination(model::Fusion fusion) {
  switch (fusion) {
    case model::Fusion::weighted:
      return "y = sum_j g_j f_j over the served choices, f_j the experts' results";
    case model::Fusion::mean:
      return "y = the mean of the served choices' results, whatever their gates (fusion = mean)";
    case model::Fusion::max:
      return "y = the element-wise maximum of the served choices' results, whatever their gates (fusion = max)";
    case model::Fusion::vote:
      return "each served choice j votes for the class of its own largest logit, with weight g_j; the class with the "
             "largest sum wins (fusion = vote, in the last block; the others add up g_j f_j). Trained on the mixture "
             "P(class) = sum_j g_j p_j(class) / sum_j g_j";
  }
  invariant(false, "a fusion of number {}", static_cast<int>(fusion));
  return {};
}

std::string laid_out(const std::vector<gating::Explained>& paragraphs, Index width) {
  constexpr Index column = 12;  // where the texts begin
  std::string out;
  for (const gating::Explained& paragraph : paragraphs) {
    out += fmt::format("{:<{}}{}\n", paragraph.title, column, wrapped(paragraph.text, column, width));
  }
  return out;
}

}  // namespace

void settle_router(const Session& session, const std::optional<OpenedCheckpoint>& from, train::TrainOptions& options) {
  if (from) {
    refuse_new_preset(*from, options.model.router.router_preset);
  } else {
    gating::apply_preset(options.model.router, session.given);
  }
  if (!options.rule_file.empty()) take_rule_file(session, options);
}

void refuse_unknown_domains(const model::ModelOptions& options, const train::Samples& dataset) {
  const RouterOptions& router = options.router;
  if (options.moe_every == 0 || router.router != "rule") return;
  const auto largest = gating::RuleTable(router.rules, "rules", {router.experts, router.top_k, {}}).largest_domain();
  const Index num_domains = dataset.num_domains().value_or(0);
  if (!largest || *largest < num_domains) return;
  throw InputError(
      fmt::format("a rule is for domain {}, but the data has {} domains: {}", *largest, num_domains,
                  dataset.description()),
      num_domains == 0
          ? "the files and sub-folders of a folder of text are its domains, if there are at least 2: give "
            "such data, or rules without domains"
          : fmt::format("its domains are 0 to {}: {}", num_domains - 1, fmt::join(dataset.domain_names(), ", ")));
}

std::unique_ptr<train::Samples> checked_samples(const comm::Communicator& world, const train::TrainOptions& options,
                                                const train::Encoding* known) {
  std::unique_ptr<train::Samples> samples;
  train::agreed(world, [&] { samples = make_samples(options, known); });
  refuse_unknown_domains(options.model, *samples);
  return samples;
}

std::vector<std::string> router_notices(const RouterOptions& options, const std::set<std::string>& given) {
  std::vector<std::string> notices;
  if (!options.router_preset.empty()) {
    const std::vector<std::string> others = gating::departures_from_preset(options);
    notices.push_back(fmt::format("routing as {}{}{}", options.router_preset, others.empty() ? "" : ", but ",
                                  fmt::join(others, ", ")));
  }
  const std::vector<std::string> unused = given_without_effect(options, given);
  if (!unused.empty()) notices.push_back(fmt::format("without effect here: {}", fmt::join(unused, ", ")));
  for (std::string& warning : gating::router_warnings(options)) notices.push_back(std::move(warning));
  return notices;
}

std::string router_explanation(const RouterOptions& options, const gating::RoutedTokens& tokens, Index width) {
  return laid_out(gating::explain(options, tokens), width);
}

std::string router_explanation(const train::TrainOptions& options, Index width) {
  if (options.model.moe_every == 0) return "moe_every = 0: the model has no MoE layer, so nothing is routed\n";
  std::vector<gating::Explained> paragraphs =
      gating::explain(options.model.router, {options.sequences_in_group() * options.model.context, options.groups});
  const auto gates =
      std::find_if(paragraphs.begin(), paragraphs.end(), [](const auto& p) { return p.title == "gates"; });
  paragraphs.insert(gates == paragraphs.end() ? gates : gates + 1, {"combine", combination(options.model.fusion)});
  return laid_out(paragraphs, width);
}

}  // namespace conclave::apps
