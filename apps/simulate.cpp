// SPDX-License-Identifier: BSD-3-Clause
// The family of commands `simulate`: what an exchange or a step would cost on a machine that is only described.
#include "apps/simulate.hpp"

#include "apps/command_line.hpp"

#include <algorithm>
#include <filesystem>

namespace conclave::apps {
namespace {

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const sim::ClusterPreset& preset : sim::cluster_presets()) names.emplace_back(preset.name);
  return names;
}

}  // namespace

std::string cluster_help() {
  return fmt::format("a file that describes the machine (README), or one of {}", fmt::join(preset_names(), ", "));
}

std::string cluster_json(const std::string& name) {
  for (const sim::ClusterPreset& preset : sim::cluster_presets()) {
    if (preset.name == name) return std::string(preset.json);
  }
  if (name.empty() || !std::filesystem::exists(name)) {
    throw InputError(fmt::format("cluster: '{}' is no file and no preset{}", name,
                                 did_you_mean(nearest_names(name, preset_names()))),
                     fmt::format("give a JSON file as README shows it, or one of {}", fmt::join(preset_names(), ", ")));
  }
  return read_file(name);
}

sim::Cluster cluster_of(const std::string& name) {
  const bool is_preset = std::ranges::count(preset_names(), name) > 0;
  return sim::read_cluster(cluster_json(name), is_preset ? "cluster " + name : name);
}

namespace {

Json json_of(const Prediction& p, const sim::Cluster& cluster) {
  Json object{{"simulation", p.simulation}, {"time_s", p.time_s},
              {"phases", Json::object()},   {"bottleneck", p.bottleneck.empty() ? Json(nullptr) : Json(p.bottleneck)},
              {"tier", name_of(p.tier)},    {"ranks", cluster.num_ranks()},
              {"nodes", cluster.nodes},     {"fabric", name_of(cluster.fabric.kind)}};
  for (const sim::PhaseTime& phase : p.phases) object["phases"][phase.name] = phase.time_s;
  object.update(p.facts);
  object["calibrated"] = false;
  return object;
}

std::string text_of(const Prediction& p, const sim::Cluster& cluster) {
  constexpr int column = 16;
  std::string out = fmt::format("{}, {} ranks on {} nodes, {}, tier {}\n", p.title, cluster.num_ranks(), cluster.nodes,
                                name_of(cluster.fabric.kind), name_of(p.tier));
  for (const sim::PhaseTime& phase : p.phases) {
    out += fmt::format("  {:<{}}{:>10}\n", phase.name, column, seconds_text(phase.time_s));
  }
  out += fmt::format("  {:<{}}{:>10}\n", "in all", column, seconds_text(p.time_s));
  if (!p.bottleneck.empty()) out += fmt::format("  limited by {}\n", p.bottleneck);
  for (const std::string& note : p.notes) out += fmt::format("  {}\n", note);
  return out + "  computed from the description alone: nothing was measured\n";
}

}  // namespace

void describe(SimulatedMachine& m, OptionSections& sections) {
  OptionTable& table = sections.section("Machine");
  table.add("cluster", m.cluster, cluster_help());
  table.add("popularity", m.popularity,
            "uniform, or a file: a weight for each rank that receives, or a line of them for each rank that sends");
  table.add("json", m.json, "print one JSON object in place of the table");
}

sim::Network network_of(const SimulatedMachine& machine) { return sim::Network(cluster_of(machine.cluster)); }

sim::Popularity popularity_of(const SimulatedMachine& machine, Index num_ranks) {
  if (machine.popularity == "uniform") return sim::Popularity::uniform(num_ranks);
  return sim::Popularity::read(read_file(machine.popularity), num_ranks, machine.popularity);
}

void print(const Prediction& prediction, const SimulatedMachine& machine, const sim::Cluster& cluster) {
  fmt::print("{}", machine.json ? json_of(prediction, cluster).dump(2) + '\n' : text_of(prediction, cluster));
}

Command simulate_command() {
  return {"simulate",
          "predict what an exchange, a step or a training would cost on a described cluster",
          "WHAT",
          {},
          {simulate_exchange(), simulate_step(), simulate_run(), simulate_explain(), simulate_optimise(),
           simulate_replay(), simulate_validate()}};
}

}  // namespace conclave::apps
