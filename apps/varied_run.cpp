// SPDX-License-Identifier: BSD-3-Clause
#include "apps/varied_run.hpp"

#include "apps/memory.hpp"
#include "apps/progress.hpp"
#include "runtime/core/clock.hpp"

namespace conclave::apps {
namespace {

double ranked_quantity(const RankedRun& run, const SimulatedPoint& point) {
  return run.options.rank_by == RankBy::cost ? point.core_hours : point.price.step_s;
}

void note_refusal(RankedRun& run, const InputError& error) {
  const std::string reason = error.hint().empty() ? error.what() : fmt::format("{}: {}", error.what(), error.hint());
  for (auto& [known, count] : run.refused) {
    if (known != reason) continue;
    ++count;
    return;
  }
  run.refused.emplace_back(reason, 1);
}

bool is_same(const SimulatedPoint& a, const SimulatedPoint& b) {
  return a.price.step_s == b.price.step_s && a.core_hours == b.core_hours && a.memory_bytes == b.memory_bytes &&
         a.price.drop_rate == b.price.drop_rate && a.price.checkpoint_s == b.price.checkpoint_s;
}

// Keys of several values, of which every point is as that with the key's first one. Points in the grid's order.
void find_keys_without_effect(RankedRun& run) {
  std::vector<const SimulatedPoint*> by_number(static_cast<std::size_t>(run.grid.size()), nullptr);
  for (const RankedPoint& p : run.points) by_number[static_cast<std::size_t>(p.number)] = &p.point;
  for (Index v = 0; v < std::ssize(run.grid.variations()); ++v) {
    const Variation& variation = run.grid.variations()[static_cast<std::size_t>(v)];
    Index compared = 0;
    const bool has_effect = std::ranges::any_of(run.points, [&](const RankedPoint& p) {
      const SimulatedPoint* first = by_number[static_cast<std::size_t>(run.grid.with_first(p.number, v))];
      if (first == nullptr || first == &p.point) return false;
      ++compared;
      return !is_same(*first, p.point);
    });
    if (!has_effect && compared > 0) run.without_effect.push_back(variation.key);
  }
}

void rank(RankedRun& run) {
  std::ranges::stable_sort(run.points, [&](const RankedPoint& a, const RankedPoint& b) {
    if (a.point.fits != b.point.fits) return a.point.fits;
    return ranked_quantity(run, a.point) < ranked_quantity(run, b.point);
  });
}

std::size_t shown(const RankedRun& run) {
  const auto top = static_cast<std::size_t>(run.options.top);
  return top == 0 ? run.points.size() : std::min(top, run.points.size());
}

double difference(const RankedRun& run, const SimulatedPoint& point) {
  return ranked_quantity(run, point) / ranked_quantity(run, run.points.front().point) - 1.0;
}

std::string header_text(const RankedRun& run, const std::vector<std::size_t>& widths) {
  std::string text = fmt::format("{:>5}", "");
  for (std::size_t v = 0; v < widths.size(); ++v) {
    text += fmt::format("  {:>{}}", run.grid.variations()[v].key, widths[v]);
  }
  return text + fmt::format("{:>9}{:>11}{:>11}{:>11}{:>9}{:>11}{:>11}  {}\n", "ranks", "step", "", "to 1st", "dropped",
                            "memory", "core-h", "limited by");
}

std::string notes_text(const RankedRun& run) {
  std::string text = fmt::format("  to 1st: in {}; core-h: core hours of 1,000 steps and their checkpoints\n",
                                 run.options.rank_by == RankBy::cost ? "core hours" : "step time");
  if (shown(run) < run.points.size()) {
    text += fmt::format("  {} more rows: --top 0 shows all, --csv writes them\n", run.points.size() - shown(run));
  }
  for (const std::string& key : run.without_effect) text += fmt::format("  {} changes nothing here\n", key);
  for (const auto& [reason, count] : run.refused) text += fmt::format("  {} left out: {}\n", count, reason);
  for (const std::string& note : run.points.front().point.price.notes) text += fmt::format("  {}\n", note);
  return text;
}

Json json_of(const RankedRun& run, const RankedPoint& p) {
  Json varied = Json::object();
  const std::vector<std::string> values = run.grid.values(p.number);
  for (std::size_t v = 0; v < values.size(); ++v) varied[run.grid.variations()[v].key] = values[v];
  return {{"varied", varied},
          {"ranks", p.point.ranks},
          {"step_s", p.point.price.step_s},
          {"low_s", p.point.price.low_s},
          {"high_s", p.point.price.high_s},
          {"to_first", difference(run, p.point)},
          {"dropped", p.point.price.drop_rate},
          {"memory_bytes", p.point.memory_bytes},
          {"fits", p.point.fits},
          {"core_hours_per_1000_steps", p.point.core_hours},
          {"exchange", p.point.price.exchange},
          {"limited_by", p.point.price.limit}};
}

}  // namespace

void describe(VariedRun& o, OptionTable& table) {
  table.add("vary", o.vary,
            "KEY=a,b,c: prices the training with each of the values, of several keys each with each; give it again "
            "for another key. Keys are options of conclave train, ranks, skew, the cluster's, and fabric.KEY");
  table.add("rank_by", o.rank_by, "what the varied ones are ranked by: a step's time, or core hours");
  table.add("top", o.top, "rows of the ranked table; 0: all");
}

void refuse_unvaried(const Session& session) {
  for (const char* name : {"rank_by", "top"}) {
    if (!session.given.contains(name)) continue;
    throw InputError(fmt::format("{} without vary", name),
                     "it ranks what --vary gives: leave it out, or vary something");
  }
}

RankedRun ranked_run(const VariedRun& o, const TrainingSimulation& simulation, Index ranks, const Session& session) {
  if (o.top < 0) throw InputError(fmt::format("top = {}", o.top), "give a number of rows, or 0 for all");
  const std::vector<Variation> variations = parse_variations(o.vary);
  const Variator variator(simulation, session, variations);
  RankedRun run{o, simulation, variator.base(), Grid(variations)};
  const bool shows = session.world.is_root() && is_watched();
  Progress progress(0, run.grid.size(), shows);
  const Clock::time_point start = Clock::now();
  double best_s = std::numeric_limits<double>::infinity();
  for (Index number = 0; number < run.grid.size(); ++number) {
    try {
      const VariedTraining varied = variator.training(run.grid.values(number), ranks);
      SimulatedPoint point = simulated_on(varied.training, varied.ranks, session.world);
      point.price.path.clear();
      best_s = std::min(best_s, point.price.step_s);
      run.points.push_back({number, std::move(point)});
    } catch (const InputError& error) {
      note_refusal(run, error);
    }
    if (shows) progress.update(number + 1, fmt::format("fastest {}", seconds_text(best_s)));
  }
  progress.finish();
  run.seconds = seconds_since(start);
  if (run.points.empty()) throw InputError("none of the what-ifs can be priced", run.refused.front().first);
  find_keys_without_effect(run);
  rank(run);
  return run;
}

std::string table_text(const RankedRun& run) {
  std::string text = fmt::format("{} of {} what-ifs priced in {}: {} tokens, {}, {}\n", run.points.size(),
                                 run.grid.size(), seconds_text(run.seconds), run.base.workload.tokens(),
                                 run.base.routing.text(), name_of(run.base.cluster.fabric.kind));
  std::vector<std::size_t> widths;
  for (const Variation& variation : run.grid.variations()) {
    widths.push_back(variation.key.size());
    for (const std::string& value : variation.values) widths.back() = std::max(widths.back(), value.size());
  }
  text += header_text(run, widths);
  for (std::size_t i = 0; i < shown(run); ++i) {
    const RankedPoint& p = run.points[i];
    const std::vector<std::string> values = run.grid.values(p.number);
    text += fmt::format("{:>5}", i + 1);
    for (std::size_t v = 0; v < values.size(); ++v) text += fmt::format("  {:>{}}", values[v], widths[v]);
    text += fmt::format("{:>9}{:>11}{:>11}{:>+9.1f} %{:>7.1f} %{:>11}{:>11.4g}  {}\n", p.point.ranks,
                        seconds_text(p.point.price.step_s), interval_text(p.point.price),
                        100.0 * difference(run, p.point), 100.0 * p.point.price.drop_rate,
                        bytes_text(p.point.memory_bytes), p.point.core_hours, limit_text(p.point));
  }
  return text + notes_text(run) + calibration_text(run.base);
}

std::string json_text(const RankedRun& run) {
  Json object{{"simulation", "run"},         {"ranked_by", name_of(run.options.rank_by)},
              {"what_ifs", run.grid.size()}, {"seconds", run.seconds},
              {"points", Json::array()},     {"without_effect", run.without_effect},
              {"left_out", Json::array()}};
  add_calibration(run.base, object);
  for (const RankedPoint& point : run.points) object["points"].push_back(json_of(run, point));
  for (const auto& [reason, count] : run.refused) {
    object["left_out"].push_back({{"reason", reason}, {"points", count}});
  }
  return object.dump(2) + '\n';
}

ResultTable table_of(const RankedRun& run) {
  const auto of = [&](std::string name, std::string unit, const auto& value) {
    return column(std::move(name), std::move(unit), run.points, value);
  };
  ResultTable table;
  for (std::size_t v = 0; v < run.grid.variations().size(); ++v) {
    table.push_back(
        of(run.grid.variations()[v].key, "", [&](const RankedPoint& p) { return run.grid.values(p.number)[v]; }));
  }
  for (ResultColumn& of_all : ResultTable{
           of("ranks", "1", [](const RankedPoint& p) { return p.point.ranks; }),
           of("step_s", "s", [](const RankedPoint& p) { return p.point.price.step_s; }),
           of("low_s", "s", [](const RankedPoint& p) { return p.point.price.low_s; }),
           of("high_s", "s", [](const RankedPoint& p) { return p.point.price.high_s; }),
           of("to_first", "1", [&](const RankedPoint& p) { return difference(run, p.point); }),
           of("dropped", "1", [](const RankedPoint& p) { return p.point.price.drop_rate; }),
           of("memory_bytes", "bytes", [](const RankedPoint& p) { return p.point.memory_bytes; }),
           of("fits", "1", [](const RankedPoint& p) { return Index{p.point.fits}; }),
           of("core_hours_per_1000_steps", "core hours", [](const RankedPoint& p) { return p.point.core_hours; }),
           of("limited_by", "", [](const RankedPoint& p) { return p.point.price.limit; })}) {
    // `ranks` may be varied itself: then it stands there as text.
    const auto varied = std::ranges::find(table, of_all.name, &ResultColumn::name);
    (varied == table.end() ? table.emplace_back() : *varied) = std::move(of_all);
  }
  return table;
}

}  // namespace conclave::apps
