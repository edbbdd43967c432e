// SPDX-License-Identifier: BSD-3-Clause
// The simulation `optimise`: how a training should be started on a cluster, and why.
#include "apps/memory.hpp"
#include "apps/progress.hpp"
#include "apps/tuned_training.hpp"
#include "runtime/train/agreed.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

struct OptimiseSimulation {
  TrainingSimulation simulation;
  Index ranks = 0;
  double drop_limit = 0.0;
  Index best = 3;
};

void describe_optimise(OptimiseSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Simulation");
  describe(o.simulation, table);
  table.add("ranks", o.ranks, "ranks whose nodes are used; 0: as many as the cluster has");
  table.add("drop_limit", o.drop_limit,
            "largest share of choices that may get no slot, such as 0.02; where it is not given, the capacity factor "
            "stays");
  table.add("best", o.best, "how many of the best are told");
  describe(o.simulation.training, sections);
}

struct Optimised {
  SettledTraining base;
  std::size_t candidates = 0;
  std::size_t possible = 0;
  std::optional<TunedTraining> now{};  // nothing: it cannot be
  std::vector<TunedTraining> best{};
  std::vector<std::vector<ChangeReason>> reasons{};  // of each of the best
  std::vector<std::string> notes{};
};

// The fastest first; of equals, those with fewer changes.
bool is_better(const TunedTraining& a, const TunedTraining& b) {
  return std::pair(a.point.price.step_s, a.changes) < std::pair(b.point.price.step_s, b.changes);
}

// Of choices that cost the same only the one with the fewest changes is told.
void keep_best(std::vector<TunedTraining>& all, std::size_t most) {
  std::ranges::stable_sort(all, is_better);
  const auto same = [](const TunedTraining& a, const TunedTraining& b) {
    return a.point.price.step_s == b.point.price.step_s && a.point.ranks == b.point.ranks;
  };
  all.erase(std::unique(all.begin(), all.end(), same), all.end());
  if (all.size() > most) all.resize(most);
}

Optimised optimised(const OptimiseSimulation& o, const Session& session) {
  Optimised result{settled(o.simulation, session)};
  const bool limits_drops = session.given.contains("drop_limit");
  const TrainingSearch search(result.base, o.ranks, limits_drops ? std::optional(o.drop_limit) : std::nullopt,
                              session.world);
  result.candidates = search.candidates().size();
  result.notes = search.notes();
  const bool shows = session.world.is_root() && is_watched();
  Progress progress(0, std::ssize(search.candidates()), shows);
  for (const TrainingChoice& choice : search.candidates()) {
    std::optional<TunedTraining> tuned = search.priced(choice);
    if (&choice == &search.candidates().front()) result.now = tuned;
    if (tuned) {
      ++result.possible;
      result.best.push_back(std::move(*tuned));
    }
    progress.update(&choice - search.candidates().data() + 1, "");
  }
  progress.finish();
  if (result.best.empty()) {
    throw InputError(
        fmt::format("none of {} choices is possible: too much memory, or too many drops", result.candidates),
        "allow more drops (--drop-limit), take more nodes (--ranks), or a smaller model");
  }
  keep_best(result.best, static_cast<std::size_t>(o.best));
  for (TunedTraining& tuned : result.best) {
    search.price_balanced(tuned);
    result.reasons.push_back(search.reasons(tuned));
  }
  return result;
}

// --- Forms ---

double less(double now_s, double before_s) { return 100.0 * (1.0 - now_s / before_s); }

std::string options_text(const TunedTraining& t) {
  const TrainingChoice& c = t.choice;
  return fmt::format("--exchange {} --waves {} --threads {} --capacity-factor {}", c.exchange,
                     c.waves == 0 ? "auto" : fmt::format("{}", c.waves), c.threads, c.capacity_factor);
}

std::string command_text(const TunedTraining& t) {
  return fmt::format("mpirun -n {} --map-by ppr:{}:node conclave train {}", t.point.ranks, t.choice.ranks_per_node,
                     options_text(t));
}

std::string line_text(std::string_view place, const TunedTraining& t, const Optimised& result) {
  const std::string gain =
      result.now ? fmt::format("{:.1f} % less than now, ", less(t.point.price.step_s, result.now->point.price.step_s))
                 : std::string{};
  return fmt::format("  {:<4}{} a step {}{}{:.1f} % dropped, {} a rank\n        {}\n", place,
                     seconds_text(t.point.price.step_s), interval_text(t.point.price), place == "now" ? "" : gain,
                     100.0 * t.point.price.drop_rate, bytes_text(t.point.memory_bytes), command_text(t));
}

std::string reasons_text(const TunedTraining& t, const std::vector<ChangeReason>& reasons) {
  std::string text;
  for (const ChangeReason& r : reasons) {
    const double gain = less(t.point.price.step_s, r.without_s);
    text += fmt::format("        {}: {:.1f} % {}", r.change, std::abs(gain), gain < 0.0 ? "more" : "less");
    if (gain >= 0.0 && !r.stretch.empty()) {
      text += fmt::format("; {} {} -> {}", r.stretch, seconds_text(r.before_s), seconds_text(r.after_s));
    }
    text += '\n';
  }
  if (reasons.empty()) text += "        as it is now\n";
  return text;
}

std::string text_of(const Optimised& result) {
  const SettledTraining& s = result.base;
  std::string text =
      fmt::format("{} choices, of which {} are possible: {} tokens, {}, {}\n", result.candidates, result.possible,
                  s.workload.tokens(), s.routing.text(), name_of(s.cluster.fabric.kind));
  text += result.now ? line_text("now", *result.now, result)
                     : "  now: does not fit in memory, drops too much, or cannot be on this cluster\n";
  for (std::size_t i = 0; i < result.best.size(); ++i) {
    text += line_text(fmt::format("{}.", i + 1), result.best[i], result);
    text += reasons_text(result.best[i], result.reasons[i]);
    const double balanced = less(result.best[i].balanced_s, result.best[i].point.price.step_s);
    if (balanced >= 0.05) {
      text += fmt::format(
          "        experts placed by their loads would take {:.1f} % less; conclave train places even "
          "runs\n",
          balanced);
    }
  }
  text +=
      "  a change's gain: against the same choice without it, and the stretch of the step that it shortens most;\n"
      "  more: what the limit of drops costs, or another of the best gains\n";
  for (const std::string& note : result.notes) text += fmt::format("  {}\n", note);
  for (const std::string& note : result.best.front().point.price.notes) text += fmt::format("  {}\n", note);
  return text + calibration_text(s);
}

Json json_of(const TunedTraining& t) {
  return {{"exchange", t.choice.exchange},
          {"waves", t.choice.waves == 0 ? Json("auto") : Json(t.choice.waves)},
          {"ranks_per_node", t.choice.ranks_per_node},
          {"threads", t.choice.threads},
          {"capacity_factor", t.choice.capacity_factor},
          {"ranks", t.point.ranks},
          {"step_s", t.point.price.step_s},
          {"low_s", t.point.price.low_s},
          {"high_s", t.point.price.high_s},
          {"dropped", t.point.price.drop_rate},
          {"memory_bytes", t.point.memory_bytes},
          {"options", options_text(t)}};
}

std::string json_text(const Optimised& result) {
  Json object{{"simulation", "optimise"},    {"choices", result.candidates},
              {"possible", result.possible}, {"now", result.now ? json_of(*result.now) : Json(nullptr)},
              {"best", Json::array()},       {"notes", result.notes}};
  add_calibration(result.base, object);
  for (std::size_t i = 0; i < result.best.size(); ++i) {
    Json best = json_of(result.best[i]);
    best["balanced_placement_step_s"] = result.best[i].balanced_s;
    best["reasons"] = Json::array();
    for (const ChangeReason& r : result.reasons[i]) {
      best["reasons"].push_back({{"change", r.change},
                                 {"step_without_s", r.without_s},
                                 {"stretch", r.stretch},
                                 {"before_s", r.before_s},
                                 {"after_s", r.after_s}});
    }
    object["best"].push_back(std::move(best));
  }
  return object.dump(2) + '\n';
}

int optimise(const OptimiseSimulation& o, const Session& session) {
  if (o.ranks < 0) throw InputError(fmt::format("ranks = {}", o.ranks), "give a number of ranks, or 0");
  if (o.best < 1) throw InputError(fmt::format("best = {}", o.best), "give 1 or more");
  const Optimised result = optimised(o, session);
  train::on_root(session.world, [&] { fmt::print("{}", o.simulation.json ? json_text(result) : text_of(result)); });
  return 0;
}

}  // namespace

Command simulate_optimise() {
  return make_command<OptimiseSimulation>("optimise", "how a training should be started on a cluster, and why", "",
                                          describe_optimise, optimise);
}

}  // namespace conclave::apps
