// SPDX-License-Identifier: BSD-3-Clause
// The simulation `explain`: what the step of a training waits for, stretch by stretch, and what it would gain without.
#include "apps/option_text.hpp"
#include "apps/training_simulation.hpp"
#include "runtime/sim/what_if.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct ExplainSimulation {
  TrainingSimulation simulation;
  Index ranks = 0;
};

void describe_explain(ExplainSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Simulation");
  describe(o.simulation, table);
  table.add("ranks", o.ranks, "how many ranks; 0: as many as the cluster has");
  describe(o.simulation.training, sections);
}

/// A step taken apart.
struct Explained {
  SettledTraining training;
  Index ranks = 0;
  Index nodes = 0;
  sim::TrainingPrice price{};
  std::vector<Index> order{};  // order[i]: the place of path[i] by its length, from 1
  std::vector<sim::LiftedLimit> lifted{};
};

constexpr Index told_stretches = 4;  // the longest, and the next three

std::vector<Index> order_of(const std::vector<sim::PathPart>& path) {
  std::vector<Index> order;
  for (const sim::PathPart& part : path) {
    order.push_back(1 + std::ranges::count_if(path, [&](const sim::PathPart& other) {
                      return other.seconds > part.seconds || (other.seconds == part.seconds && &other < &part);
                    }));
  }
  return order;
}

Explained explained(const ExplainSimulation& o, const Session& session) {
  Explained e{settled(o.simulation, session), o.ranks};
  if (e.ranks == 0) e.ranks = e.training.cluster.num_ranks();
  const PlacedTraining on = placed(e.training, e.ranks, session.world);
  const sim::TrainingCase training = case_of(e.training, on, nullptr);
  e.nodes = on.network.cluster().nodes;
  e.price = sim::price_training_step(training);
  e.order = order_of(e.price.path);
  e.lifted = sim::lifted_limits(training, e.price.step_s);
  return e;
}

// --- Forms ---

double share(double part_s, const Explained& e) { return 100.0 * part_s / e.price.step_s; }

std::string path_text(const Explained& e) {
  constexpr Index column = 66;  // where what binds begins
  std::string text = fmt::format("  {:<38}{:>10}{:>9}{:>5}  {}\n", "stretch", "time", "share", "", "bound by");
  for (std::size_t i = 0; i < e.price.path.size(); ++i) {
    const sim::PathPart& part = e.price.path[i];
    const std::string place = e.order[i] <= told_stretches ? fmt::format("{}.", e.order[i]) : "";
    text += fmt::format("  {:<38}{:>10}{:>7.1f} %{:>5}  {}\n", part.what, seconds_text(part.seconds),
                        share(part.seconds, e), place, wrapped(part.binding, column, column + 78));
  }
  return text;
}

std::string lifted_text(const Explained& e) {
  std::string text = fmt::format("  {:<38}{:>10}{:>9}       {}\n", "without", "step", "gain", "that is");
  for (const sim::LiftedLimit& l : e.lifted) {
    text += fmt::format("  {:<38}{:>10}{:>7.1f} %       {}\n", name_of(l.limit), seconds_text(l.step_s),
                        share(l.gain_s, e), sim::meaning_of(l.limit));
  }
  return text;
}

std::string text_of(const Explained& e) {
  std::string text = fmt::format("Critical path of a step: {} {} on {} ranks, {} nodes, {}, {}, exchange {}\n",
                                 seconds_text(e.price.step_s), interval_text(e.price), e.ranks, e.nodes,
                                 name_of(e.training.cluster.fabric.kind), e.training.routing.text(), e.price.exchange);
  text += path_text(e) + '\n' + lifted_text(e);
  text += "  1. to 4.: the longest stretches; each limit is lifted alone, and the same model prices the step again\n";
  for (const std::string& note : e.price.notes) text += fmt::format("  {}\n", note);
  return text + calibration_text(e.training);
}

std::string json_text(const Explained& e) {
  Json object{{"simulation", "explain"},
              {"ranks", e.ranks},
              {"nodes", e.nodes},
              {"fabric", name_of(e.training.cluster.fabric.kind)},
              {"routing", e.training.routing.text()},
              {"exchange", e.price.exchange},
              {"step_s", e.price.step_s},
              {"low_s", e.price.low_s},
              {"high_s", e.price.high_s},
              {"path", Json::array()},
              {"without", Json::array()},
              {"notes", e.price.notes}};
  add_calibration(e.training, object);
  for (std::size_t i = 0; i < e.price.path.size(); ++i) {
    const sim::PathPart& part = e.price.path[i];
    object["path"].push_back(
        {{"stretch", part.what}, {"time_s", part.seconds}, {"bound_by", part.binding}, {"place", e.order[i]}});
  }
  for (const sim::LiftedLimit& l : e.lifted) {
    object["without"].push_back({{"limit", name_of(l.limit)}, {"step_s", l.step_s}, {"gain_s", l.gain_s}});
  }
  return object.dump(2) + '\n';
}

int explain(const ExplainSimulation& o, const Session& session) {
  if (o.ranks < 0) throw InputError(fmt::format("ranks = {}", o.ranks), "give a number of ranks, or 0");
  const Explained e = explained(o, session);
  train::on_root(session.world, [&] { fmt::print("{}", o.simulation.json ? json_text(e) : text_of(e)); });
  return 0;
}

}  // namespace

Command simulate_explain() {
  return make_command<ExplainSimulation>("explain", "what a training's step waits for, and what it gains without", "",
                                         describe_explain, explain);
}

}  // namespace conclave::apps
