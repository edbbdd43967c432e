// SPDX-License-Identifier: BSD-3-Clause
// The simulation `run`: a training configuration on more and more ranks of a described cluster.
#include "apps/line_chart.hpp"
#include "apps/memory.hpp"
#include "apps/rank_counts.hpp"
#include "apps/result_table.hpp"
#include "apps/simulated_trace.hpp"
#include "apps/varied_run.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct RunSimulation {
  TrainingSimulation simulation;
  std::string ranks = "1:64:x2";
  VariedRun varied;
  ResultFiles files;
  std::string picture;
  SimulatedTrace trace;
};

void describe_run_simulation(RunSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Simulation");
  describe(o.simulation, table);
  table.add("ranks", o.ranks, "how many ranks: numbers with commas, or FIRST:LAST:xFACTOR, or FIRST:LAST:STEP");
  describe(o.files, table, "the table");
  table.add("picture", o.picture, "a file to draw the speed-ups into, as SVG");
  describe(o.trace, table);
  describe(o.varied, sections.section("What if"));
  describe(o.simulation.training, sections);
}

/// A point beside the first one.
struct ScaledPoint : SimulatedPoint {
  double speed_up = 0.0;
  double efficiency = 0.0;
};

std::vector<ScaledPoint> compared(const std::vector<SimulatedPoint>& points) {
  std::vector<ScaledPoint> result;
  const SimulatedPoint& first = points.front();
  for (const SimulatedPoint& point : points) {
    const double speed_up = first.price.step_s / point.price.step_s * static_cast<double>(first.ranks);
    result.push_back({point, speed_up, speed_up / static_cast<double>(point.ranks)});
  }
  return result;
}

double share(double part_s, const ScaledPoint& point) { return 100.0 * part_s / point.price.step_s; }

// --- Forms ---

Json json_of(const ScaledPoint& p) {
  Json phases = Json::object();
  for (const auto& entry : enum_names(Phase{})) phases[std::string(entry.name)] = p.price.of(entry.value);
  return {{"ranks", p.ranks},
          {"nodes", p.nodes},
          {"step_s", p.price.step_s},
          {"low_s", p.price.low_s},
          {"high_s", p.price.high_s},
          {"speed_up", p.speed_up},
          {"efficiency", p.efficiency},
          {"phases", phases},
          {"communication_s", p.price.communication_s},
          {"exposed_s", p.price.exposed_s},
          {"imbalance_s", p.price.imbalance_s},
          {"dropped", p.price.drop_rate},
          {"memory_bytes", p.memory_bytes},
          {"fits", p.fits},
          {"checkpoint_s", p.price.checkpoint_s},
          {"core_hours_per_1000_steps", p.core_hours},
          {"exchange", p.price.exchange},
          {"limited_by", p.price.limit},
          {"notes", p.price.notes}};
}

std::string json_text(const SettledTraining& s, const std::vector<ScaledPoint>& points) {
  Json object{
      {"simulation", "run"},           {"fabric", name_of(s.cluster.fabric.kind)}, {"routing", s.routing.text()},
      {"tokens", s.workload.tokens()}, {"parameters", s.workload.parameters()},    {"points", Json::array()}};
  add_calibration(s, object);
  for (const ScaledPoint& point : points) object["points"].push_back(json_of(point));
  return object.dump(2) + '\n';
}

// Notes once, with the ranks that they are of.
std::string notes_text(const std::vector<ScaledPoint>& points) {
  std::vector<std::pair<std::string, std::vector<Index>>> notes;
  for (const ScaledPoint& point : points) {
    for (const std::string& note : point.price.notes) {
      const auto known = std::ranges::find(notes, note, &std::pair<std::string, std::vector<Index>>::first);
      (known == notes.end() ? notes.emplace_back(note, std::vector<Index>{}) : *known).second.push_back(point.ranks);
    }
  }
  std::string text;
  for (const auto& [note, ranks] : notes) text += fmt::format("  {} ranks: {}\n", fmt::join(ranks, ", "), note);
  return text;
}

std::string table_text(const SettledTraining& s, const std::vector<ScaledPoint>& points) {
  std::string text = fmt::format(
      "Training step: {} tokens, {:.4g} parameters, {}, "
      "{}\n{:>9}{:>12}{:>11}{:>10}{:>6}{:>7}{:>9}{:>9}{:>9}{:>11}{:>11}"
      "  {}\n",
      s.workload.tokens(), s.workload.parameters(), s.routing.text(), name_of(s.cluster.fabric.kind), "ranks", "step",
      "", "speed-up", "eff.", "comm.", "exposed", "imbal.", "dropped", "memory", "core-h", "limited by");
  for (const ScaledPoint& p : points) {
    text +=
        fmt::format("{:>9}{:>12}{:>11}{:>10.4g}{:>6.2f}{:>5.1f} %{:>7.1f} %{:>7.1f} %{:>7.1f} %{:>11}{:>11.4g}  {}\n",
                    p.ranks, seconds_text(p.price.step_s), interval_text(p.price), p.speed_up, p.efficiency,
                    share(p.price.communication_s, p), share(p.price.exposed_s, p), share(p.price.imbalance_s, p),
                    100.0 * p.price.drop_rate, bytes_text(p.memory_bytes), p.core_hours, limit_text(p));
  }
  text +=
      "  comm.: rows and sums on their way, hidden or not; exposed: what of it nothing hides; imbal.: waiting for "
      "the slowest rank\n"
      "  memory: of a rank, by formula; core-h: core hours of 1,000 steps and their checkpoints\n";
  text += notes_text(points);
  return text + calibration_text(s);
}

ResultTable table_of(const std::vector<ScaledPoint>& points) {
  const auto of = [&](std::string name, std::string unit, const auto& value) {
    return column(std::move(name), std::move(unit), points, value);
  };
  ResultTable table{of("ranks", "1", [](const ScaledPoint& p) { return p.ranks; }),
                    of("nodes", "1", [](const ScaledPoint& p) { return p.nodes; }),
                    of("step_s", "s", [](const ScaledPoint& p) { return p.price.step_s; }),
                    of("low_s", "s", [](const ScaledPoint& p) { return p.price.low_s; }),
                    of("high_s", "s", [](const ScaledPoint& p) { return p.price.high_s; }),
                    of("speed_up", "1", [](const ScaledPoint& p) { return p.speed_up; }),
                    of("efficiency", "1", [](const ScaledPoint& p) { return p.efficiency; }),
                    of("communication_s", "s", [](const ScaledPoint& p) { return p.price.communication_s; }),
                    of("exposed_s", "s", [](const ScaledPoint& p) { return p.price.exposed_s; }),
                    of("imbalance_s", "s", [](const ScaledPoint& p) { return p.price.imbalance_s; }),
                    of("dropped", "1", [](const ScaledPoint& p) { return p.price.drop_rate; }),
                    of("memory_bytes", "bytes", [](const ScaledPoint& p) { return p.memory_bytes; }),
                    of("fits", "1", [](const ScaledPoint& p) { return Index{p.fits}; }),
                    of("checkpoint_s", "s", [](const ScaledPoint& p) { return p.price.checkpoint_s; }),
                    of("core_hours_per_1000_steps", "core hours", [](const ScaledPoint& p) { return p.core_hours; }),
                    of("exchange", "", [](const ScaledPoint& p) { return p.price.exchange; }),
                    of("limited_by", "", [](const ScaledPoint& p) { return p.price.limit; })};
  for (const auto& entry : enum_names(Phase{})) {
    table.push_back(
        of(fmt::format("{}_s", entry.name), "s", [&](const ScaledPoint& p) { return p.price.of(entry.value); }));
  }
  return table;
}

std::string picture_text(const SettledTraining& s, const std::vector<ScaledPoint>& points) {
  LineChart chart{fmt::format("Speed-up of a training step, {}", s.machine ? "predicted" : "not calibrated"),
                  "ranks",
                  "speed-up",
                  {{"ideal", {}, true}, {"predicted", {}}}};
  for (const ScaledPoint& point : points) {
    const auto ranks = static_cast<double>(point.ranks);
    chart.curves[0].points.push_back({ranks, ranks});
    chart.curves[1].points.push_back({ranks, point.speed_up});
  }
  return svg_text(chart);
}

// --- The command ---

void tell(const RunSimulation& o, const SettledTraining& s, const std::vector<ScaledPoint>& points) {
  fmt::print("{}", o.simulation.json ? json_text(s, points) : table_text(s, points));
  write(o.files, table_of(points));
  if (!o.picture.empty()) write_file(o.picture, picture_text(s, points));
}

void run_varied(const RunSimulation& o, const Session& session) {
  if (!o.picture.empty()) throw InputError("picture beside vary", "a picture is of ranks alone: leave one of them out");
  const std::vector<Index> counts =
      session.given.contains("ranks") ? parse_rank_counts(o.ranks) : std::vector<Index>{0};
  if (counts.size() != 1) {
    throw InputError(fmt::format("ranks = {} beside vary", o.ranks), "give one number, or vary them: --vary ranks=...");
  }
  const RankedRun run = ranked_run(o.varied, o.simulation, counts.front(), session);
  train::on_root(session.world, [&] {
    fmt::print("{}", o.simulation.json ? json_text(run) : table_text(run));
    write(o.files, table_of(run));
  });
}

// A trace is of one step.
void refuse_trace_of_many(const RunSimulation& o) {
  if (o.trace.trace.empty()) return;
  if (!o.varied.vary.empty()) throw InputError("trace beside vary", "leave vary out, and give --ranks one number");
  const std::vector<Index> counts = parse_rank_counts(o.ranks);
  if (counts.size() == 1) return;
  throw InputError(fmt::format("trace of ranks = {}, which are {} numbers of ranks", o.ranks, counts.size()),
                   fmt::format("a trace is of one step: give one number, as --ranks {}", counts.back()));
}

int run_simulation(const RunSimulation& o, const Session& session) {
  const comm::Communicator& world = session.world;
  refuse_trace_of_many(o);
  refuse_unwritable(world, o.files);
  refuse_unwritable(world, "picture", o.picture);
  validate(o.trace, session);
  if (!o.varied.vary.empty()) {
    run_varied(o, session);
    return 0;
  }
  refuse_unvaried(session);
  const std::vector<Index> counts = parse_rank_counts(o.ranks);
  const SettledTraining s = settled(o.simulation, session);
  // Ranks do the same; the root tells.
  std::vector<SimulatedPoint> points;
  for (const Index ranks : counts) points.push_back(simulated_on(s, ranks, world));
  train::on_root(world, [&] { tell(o, s, compared(points)); });
  if (!o.trace.trace.empty()) write_trace(o.trace, s, points.front(), world);
  return 0;
}

}  // namespace

Command simulate_run() {
  return make_command<RunSimulation>("run", "a training configuration on more and more ranks", "",
                                     describe_run_simulation, run_simulation);
}

}  // namespace conclave::apps
