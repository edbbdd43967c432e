// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/metrics.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::train {
namespace {

using Json = nlohmann::ordered_json;

Json spread_json(const PhaseSpread& p) { return {{"min_s", p.min_s}, {"mean_s", p.mean_s}, {"max_s", p.max_s}}; }

Json attribution_json(const Attribution& a) {
  Json layers = Json::array();
  for (const Attribution::Layer& layer : a.layers) {
    layers.push_back(
        {{"compute_s", layer.compute_s}, {"exposed_s", layer.exposed_s}, {"imbalance_s", layer.imbalance_s}});
  }
  return {{"compute_s", a.compute_s},
          {"exposed_s", a.exposed_s},
          {"imbalance_s", a.imbalance_s},
          {"io_s", a.io_s},
          {"slowest_rank", a.slowest.value()},
          {"waited_s", a.waited_s},
          {"slowest_stretch", a.slowest_stretch},
          {"slowest_expert", a.slowest_expert ? Json(a.slowest_expert->value()) : Json()},
          {"layers", layers}};
}

Json layers_json(const std::vector<model::LayerStatistics>& layers) {
  Json list = Json::array();
  for (const model::LayerStatistics& s : layers) {
    list.push_back({{"load", s.load},
                    {"over_capacity", s.over_capacity},
                    {"refused_second", s.refused_second},
                    {"unchosen", s.unchosen},
                    {"rerouted", s.rerouted},
                    {"unserved", s.unserved},
                    {"drop_rate", s.drop_rate()},
                    {"imbalance", s.imbalance()},
                    {"effective_experts", s.effective_experts()},
                    {"dead_experts", s.dead_experts()},
                    {"balance", s.balance},
                    {"z", s.z},
                    {"importance", s.importance},
                    {"entropy", s.entropy}});
  }
  return list;
}

}  // namespace

PhaseSpread spread_of(std::span<const double> seconds_of_rank) {
  const auto [least, most] = std::ranges::minmax(seconds_of_rank);
  const double sum = std::accumulate(seconds_of_rank.begin(), seconds_of_rank.end(), 0.0);
  return {least, sum / static_cast<double>(seconds_of_rank.size()), most};
}

double StepRecord::drop_rate() const {
  Index claims = 0;
  Index dropped = 0;
  for (const model::LayerStatistics& s : layers) {
    claims += s.claims();
    dropped += s.over_capacity + s.refused_second;
  }
  return claims == 0 ? 0.0 : static_cast<double>(dropped) / static_cast<double>(claims);
}

std::string Evaluation::size_text() const {
  if (confusion.classes() > 0) return fmt::format("{} samples", confusion.samples());
  return targets < tokens ? fmt::format("{} of {} tokens", targets, tokens) : fmt::format("{} tokens", tokens);
}

std::string to_json(const StepRecord& r) {
  Json phases;
  for (const auto& entry : enum_names(Phase{})) {
    phases[std::string(entry.name)] = spread_json(r.phases[static_cast<std::size_t>(entry.value)]);
  }
  const Json line = {{"kind", "step"},
                     {"step", r.step},
                     {"tokens", r.tokens},
                     {"loss", r.loss},
                     {"router_loss", r.router_loss},
                     {"objective", r.objective()},
                     {"gradient_norm", r.gradient_norm},
                     {"learning_rate", r.learning_rate},
                     {"seconds", r.seconds},
                     {"tokens_per_s", r.tokens_per_s()},
                     {"skipped", r.skipped},
                     {"alarms", r.alarms},
                     {"communication", spread_json(r.communication)},
                     {"attribution", attribution_json(r.attribution)},
                     {"phases", phases},
                     {"layers", layers_json(r.layers)}};
  return line.dump();
}

std::string to_json(const Evaluation& e) {
  Json line = {{"kind", e.split == Split::test ? "test" : "evaluation"},
               {"step", e.step},
               {"tokens", e.tokens},
               {"loss", e.loss},
               {"accuracy", e.accuracy},
               {"domain_information", e.domain_information},
               {"layer_agreement", e.layer_agreement},
               {"layers", layers_json(e.layers)}};
  if (e.confusion.classes() > 0) {
    line["samples"] = e.confusion.samples();
    line["macro_f1"] = e.confusion.macro_f1();
    Json rows = Json::array();
    for (Index c = 0; c < e.confusion.classes(); ++c) {
      Json row = Json::array();
      for (Index p = 0; p < e.confusion.classes(); ++p) row.push_back(e.confusion.count(c, p));
      rows.push_back(std::move(row));
    }
    line["confusion"] = std::move(rows);
  }
  return line.dump();
}

}  // namespace conclave::train
