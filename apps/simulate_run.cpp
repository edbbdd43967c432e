// SPDX-License-Identifier: BSD-3-Clause
// The simulation `run`: a training configuration on more and more ranks of a described cluster.
#include "apps/bench.hpp"
#include "apps/command_line.hpp"
#include "apps/line_chart.hpp"
#include "apps/memory.hpp"
#include "apps/rank_counts.hpp"
#include "apps/routing_source.hpp"
#include "apps/simulate.hpp"
#include "apps/train_case.hpp"
#include "apps/training_needs.hpp"
#include "apps/training_workload.hpp"
#include "runtime/sim/cluster_scaling.hpp"
#include "runtime/sim/training_price.hpp"
#include "runtime/train/agreed.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

struct RunSimulation {
  std::string cluster;
  std::string machine;
  std::string ranks = "1:64:x2";
  RoutingSource routing;
  bool json = false;
  std::string csv;
  std::string picture;
  TrainCase training;
};

void describe_run_simulation(RunSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Simulation");
  table.add("cluster", o.cluster, cluster_help());
  table.add("machine", o.machine,
            "what was measured of a node, as a calibration wrote it; without, products take flops over the cluster's "
            "rank_flops_per_s and nothing else takes time");
  table.add("ranks", o.ranks, "how many ranks: numbers with commas, or FIRST:LAST:xFACTOR, or FIRST:LAST:STEP");
  table.add("routing", o.routing.trace, "a file of conclave train --record-routing: where tokens went");
  table.add("skew", o.routing.skew,
            "or made-up popularity of experts: uniform, zipf:EXPONENT or gini:COEFFICIENT; even uniform has a fullest "
            "expert");
  table.add("json", o.json, "print one JSON object in place of the table");
  table.add("csv", o.csv, "a file to write the table into, with commas");
  table.add("picture", o.picture, "a file to draw the speed-ups into, as SVG");
  describe(o.training, sections);
}

/// The run on one number of ranks.
struct SimulatedPoint {
  Index ranks = 0;
  Index nodes = 0;
  sim::TrainingPrice price;
  double memory_bytes = 0.0;  // of the fullest rank that was looked at
  bool fits = true;
  double speed_up = 0.0;
  double efficiency = 0.0;
  double core_hours = 0.0;  // of 1,000 steps and their checkpoints
};

/// What all points have in common.
struct Simulated {
  const RunSimulation& options;
  sim::Cluster cluster;
  std::optional<sim::Machine> machine;
  sim::Workload workload;
  std::vector<sim::ExpertLoads> loads;
  model::DataShape shape;
};

plan::Topology topology_of(const sim::Cluster& cluster) {
  std::vector<Index> nodes;
  for (Index rank = 0; rank < cluster.num_ranks(); ++rank) nodes.push_back(rank / cluster.ranks_per_node);
  return plan::Topology(nodes);
}

double core_hours(const sim::Workload& w, const SimulatedPoint& point) {
  const double saves = w.checkpoint_every > 0 ? 1000.0 / static_cast<double>(w.checkpoint_every) : 0.0;
  const double seconds = 1000.0 * point.price.step_s + saves * point.price.checkpoint_s;
  return seconds * static_cast<double>(point.ranks * w.threads) / 3600.0;
}

// Waves are cut from a rank's experts; with fewer experts there are fewer.
Index waves_of(const sim::Workload& w, const plan::RowTransport& transport) {
  const Index most = (w.moe.num_experts() + transport.num_ranks - 1) / transport.num_ranks;
  return std::clamp<Index>(most, 1, std::max<Index>(1, transport.waves));
}

// Collective only in what makes the transport.
SimulatedPoint simulate(const Simulated& s, Index ranks, const comm::Communicator& world) {
  const sim::Cluster cluster = sim::scaled_to(s.cluster, ranks);
  const train::TrainOptions& training = s.options.training.train;
  const plan::Topology topology = topology_of(cluster);
  const plan::RowTransport transport = model::planned_row_transport(training.transport, world, topology, RankId{0});
  SimulatedPoint point;
  point.ranks = ranks;
  point.nodes = cluster.nodes;
  sim::Workload workload = s.workload;
  workload.transport.waves = waves_of(workload, transport);
  const sim::Network network(cluster);
  point.price = sim::price_training_step({workload, network, s.machine ? &*s.machine : nullptr, s.loads});
  point.memory_bytes = sampled_rank_bytes(training, s.shape, transport, workload.threads);
  const double of_node = point.memory_bytes * static_cast<double>(cluster.ranks_per_node);
  point.fits = std::isnan(cluster.node_memory_bytes) || of_node <= cluster.node_memory_bytes;
  point.core_hours = core_hours(workload, point);
  return point;
}

void compare(std::vector<SimulatedPoint>& points) {
  const SimulatedPoint& first = points.front();
  for (SimulatedPoint& point : points) {
    point.speed_up = first.price.step_s / point.price.step_s * static_cast<double>(first.ranks);
    point.efficiency = point.speed_up / static_cast<double>(point.ranks);
  }
}

double share(double part_s, const SimulatedPoint& point) { return 100.0 * part_s / point.price.step_s; }

// --- Forms ---

Json json_of(const SimulatedPoint& p) {
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

std::string json_text(const Simulated& s, const std::vector<SimulatedPoint>& points) {
  Json object{{"simulation", "run"},
              {"fabric", name_of(s.cluster.fabric.kind)},
              {"calibrated", s.machine.has_value()},
              {"routing", s.options.routing.text()},
              {"tokens", s.workload.tokens()},
              {"parameters", s.workload.parameters()},
              {"points", Json::array()}};
  if (s.machine) object["measured_on"] = s.machine->provenance.host;
  for (const SimulatedPoint& point : points) object["points"].push_back(json_of(point));
  return object.dump(2) + '\n';
}

std::string interval_text(const sim::TrainingPrice& price) {
  if (!(price.high_s > price.low_s)) return "";
  return fmt::format("+- {:.1f} %", 100.0 * 0.5 * (price.high_s - price.low_s) / price.step_s);
}

// Notes once, with the ranks that they are of.
std::string notes_text(const std::vector<SimulatedPoint>& points) {
  std::vector<std::pair<std::string, std::vector<Index>>> notes;
  for (const SimulatedPoint& point : points) {
    for (const std::string& note : point.price.notes) {
      const auto known = std::ranges::find(notes, note, &std::pair<std::string, std::vector<Index>>::first);
      (known == notes.end() ? notes.emplace_back(note, std::vector<Index>{}) : *known).second.push_back(point.ranks);
    }
  }
  std::string text;
  for (const auto& [note, ranks] : notes) text += fmt::format("  {} ranks: {}\n", fmt::join(ranks, ", "), note);
  return text;
}

std::string table_text(const Simulated& s, const std::vector<SimulatedPoint>& points) {
  std::string text = fmt::format(
      "Training step: {} tokens, {:.4g} parameters, {}, "
      "{}\n{:>9}{:>11}{:>11}{:>10}{:>6}{:>7}{:>9}{:>9}{:>9}{:>11}{:>11}"
      "  {}\n",
      s.workload.tokens(), s.workload.parameters(), s.options.routing.text(), name_of(s.cluster.fabric.kind), "ranks",
      "step", "", "speed-up", "eff.", "comm.", "exposed", "imbal.", "dropped", "memory", "core-h", "limited by");
  for (const SimulatedPoint& p : points) {
    text +=
        fmt::format("{:>9}{:>11}{:>11}{:>10.4g}{:>6.2f}{:>5.1f} %{:>7.1f} %{:>7.1f} %{:>7.1f} %{:>11}{:>11.4g}  {}{}\n",
                    p.ranks, seconds_text(p.price.step_s), interval_text(p.price), p.speed_up, p.efficiency,
                    share(p.price.communication_s, p), share(p.price.exposed_s, p), share(p.price.imbalance_s, p),
                    100.0 * p.price.drop_rate, bytes_text(p.memory_bytes), p.core_hours, p.price.limit,
                    p.fits ? "" : "; does not fit: the node's memory is less");
  }
  text +=
      "  comm.: rows and sums on their way, hidden or not; exposed: what of it nothing hides; imbal.: waiting for "
      "the slowest rank\n"
      "  memory: of a rank, by formula; core-h: core hours of 1,000 steps and their checkpoints\n";
  text += notes_text(points);
  if (!s.machine) return text + "  not calibrated: products at the cluster's rank_flops_per_s; nothing was measured\n";
  const sim::Provenance& from = s.machine->provenance;
  return text + fmt::format("  calibrated on {} ({}), {}; +-: 9 of 10 steps\n", from.host, from.cpu, from.when);
}

std::string csv_text(const std::vector<SimulatedPoint>& points) {
  std::string text =
      "ranks,nodes,step_s,low_s,high_s,speed_up,efficiency,communication_s,exposed_s,imbalance_s,dropped,"
      "memory_bytes,fits,checkpoint_s,core_hours_per_1000_steps,exchange,limited_by\n";
  for (const SimulatedPoint& p : points) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},\"{}\"\n", p.ranks, p.nodes, p.price.step_s,
                        p.price.low_s, p.price.high_s, p.speed_up, p.efficiency, p.price.communication_s,
                        p.price.exposed_s, p.price.imbalance_s, p.price.drop_rate, p.memory_bytes, p.fits ? 1 : 0,
                        p.price.checkpoint_s, p.core_hours, p.price.exchange, p.price.limit);
  }
  return text;
}

std::string picture_text(const Simulated& s, const std::vector<SimulatedPoint>& points) {
  LineChart chart{fmt::format("Speed-up of a training step, {}", s.machine ? "predicted" : "not calibrated"),
                  "ranks",
                  "speed-up",
                  {{"ideal", {}, true}, {"predicted", {}}}};
  for (const SimulatedPoint& point : points) {
    const auto ranks = static_cast<double>(point.ranks);
    chart.curves[0].points.push_back({ranks, ranks});
    chart.curves[1].points.push_back({ranks, point.speed_up});
  }
  return svg_text(chart);
}

// --- The command ---

Simulated simulated(const RunSimulation& o, const model::DataShape& shape) {
  Simulated s{o, cluster_of(o.cluster), std::nullopt, training_workload(o.training.train, shape), {}, shape};
  if (!o.machine.empty()) s.machine = sim::read_machine(read_file(o.machine), o.machine);
  if (s.workload.moe_blocks > 0) s.loads = expert_loads(o.routing, o.training.train, s.workload);
  return s;
}

void tell(const Simulated& s, const std::vector<SimulatedPoint>& points) {
  const RunSimulation& o = s.options;
  fmt::print("{}", o.json ? json_text(s, points) : table_text(s, points));
  if (!o.csv.empty()) write_file(o.csv, csv_text(points));
  if (!o.picture.empty()) write_file(o.picture, picture_text(s, points));
}

int run_simulation(const RunSimulation& given, const Session& session) {
  RunSimulation o = given;
  const comm::Communicator& world = session.world;
  refuse_unused(session, {"explain_router", "init_from", "resume", "stop_after", "upcycle", "upcycle_noise",
                          "upcycle_split", "requeue", "time_limit", "time_margin"});
  const auto samples = settle(o.training, session);
  refuse_unwritable(world, "csv", o.csv);
  refuse_unwritable(world, "picture", o.picture);
  std::optional<Simulated> s;
  std::vector<Index> counts;
  train::agreed(world, [&] {
    counts = parse_rank_counts(o.ranks);
    s.emplace(simulated(o, samples->shape()));
  });
  // Ranks do the same; the root tells.
  std::vector<SimulatedPoint> points;
  for (const Index ranks : counts) points.push_back(simulate(*s, ranks, world));
  compare(points);
  train::on_root(world, [&] { tell(*s, points); });
  return 0;
}

}  // namespace

Command simulate_run() {
  return make_command<RunSimulation>("run", "a training configuration on more and more ranks", "",
                                     describe_run_simulation, run_simulation);
}

}  // namespace conclave::apps
