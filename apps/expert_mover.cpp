// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_mover.hpp"

#include "apps/bench_report.hpp"
#include "apps/command_line.hpp"
#include "apps/message_timing.hpp"
#include "apps/run_rates.hpp"
#include "apps/training_simulation.hpp"
#include "apps/training_workload.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/sim/cluster_scaling.hpp"
#include "runtime/train/agreed.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

// A look at what messages cost here, in a fraction of a second.
constexpr TransferBudget message_budget{.largest_bytes = 1048576.0, .repeats = 3, .seconds = 2e-4};

/// Ranks on nodes as the simulator knows them.
struct Nodes {
  Index num_nodes = 1;
  Index ranks_per_node = 1;
  bool are_filled = true;  // one after another, each by as many ranks; else every rank counts as a node of its own
};

Nodes nodes_of(const plan::Topology& topology) {
  const Index ranks = topology.num_ranks();
  const Index of_node = ranks / topology.num_nodes();
  if (ranks % topology.num_nodes() == 0 && topology == plan::Topology::filled(ranks, of_node)) {
    return {topology.num_nodes(), of_node, true};
  }
  return {ranks, 1, false};
}

sim::Machine measured_messages(const comm::Communicator& world) {
  sim::Machine machine;
  if (const auto fit = time_messages(world, plan::Level::node, message_budget)) machine.node = fit->costs;
  if (const auto fit = time_messages(world, plan::Level::network, message_budget)) machine.network = fit->costs;
  if (const auto fit = time_shared_memory(world, message_budget)) machine.shared_memory = fit->costs;
  return machine;
}

// Of a described machine, with this run's ranks on it.
sim::Cluster described_cluster(const std::string& name, const Nodes& nodes, Index ranks) {
  const sim::Cluster cluster = sim::scaled_to(cluster_of(name), ranks);
  if (!nodes.are_filled) {
    throw InputError(
        fmt::format("cluster = {}: its nodes are filled evenly, one after another, those of these {} ranks "
                    "are not",
                    name, ranks),
        "start as many ranks on each node (mpirun --map-by core), or leave --cluster out");
  }
  if (cluster.ranks_per_node != nodes.ranks_per_node) {
    throw InputError(fmt::format("cluster = {}: {} ranks of it are {} a node, these are {}", name, ranks,
                                 cluster.ranks_per_node, nodes.ranks_per_node),
                     fmt::format("describe where the run is: ranks_per_node = {}", nodes.ranks_per_node));
  }
  return cluster;
}

// That the simulator has a price for this, before a step is done.
void try_price(const PricedRun& run) {
  const auto experts = at(run.workload.moe.num_experts());
  const std::vector<double> even(experts, 1.0 / static_cast<double>(experts));
  const std::vector<sim::ExpertLoads> loads{sim::expected_loads(run.workload, even)};
  static_cast<void>(sim::price_training_step({run.workload, run.network, &run.machine, loads}));
}

std::string basis_of(const PricingFiles& files, const sim::Machine& machine, const Nodes& nodes, double took_s) {
  std::string text =
      files.machine.empty()
          ? fmt::format("what this run's phases take, and messages between its ranks, measured in {}",
                        seconds_text(took_s))
          : fmt::format("{} (calibrated on {}, {})", files.machine, machine.provenance.host, machine.provenance.when);
  if (!files.cluster.empty()) text += fmt::format("; cluster {}", files.cluster);
  if (!nodes.are_filled) text += "; nodes are not filled evenly: each rank counts as one";
  return text;
}

std::string text_of_places(const std::vector<ExpertMap>& maps) {
  Json layers = Json::array();
  for (const ExpertMap& map : maps) {
    Json& hosts = layers.emplace_back(Json::array());
    for (ExpertId e; e < ExpertId{map.num_experts()}; ++e) {
      Json& of_expert = hosts.emplace_back(Json::array());
      for (const RankId rank : map.hosts(e)) of_expert.push_back(rank.value());
    }
  }
  return layers.dump();
}

std::vector<ExpertMap> places_of(const std::string& text, Index num_ranks) {
  std::vector<ExpertMap> maps;
  for (const Json& layer : Json::parse(text)) {
    std::vector<std::vector<RankId>> hosts;
    for (const Json& of_expert : layer) {
      std::vector<RankId>& ranks = hosts.emplace_back();
      for (const Json& rank : of_expert) ranks.emplace_back(rank.get<Index>());
    }
    maps.push_back(ExpertMap::with_replicas(hosts, num_ranks));
  }
  return maps;
}

}  // namespace

void describe(PricingFiles& files, OptionTable& table) {
  table.add(
      "machine", files.machine,
      "placement = auto: what moves are priced by, as conclave bench calibrate wrote it; without, phases take what "
      "the run's own steps took, and messages what they take at its start");
  table.add("cluster", files.cluster,
            "placement = auto: what is between nodes, where that is not to be measured: " + cluster_help());
}

void validate(const PricingFiles& files, const train::TrainOptions& o) {
  for (const auto& [name, value] : {std::pair{"machine", &files.machine}, std::pair{"cluster", &files.cluster}}) {
    if (value->empty()) continue;
    const std::string hint =
        fmt::format("moves of experts are priced by it: give placement = auto, or leave --{} out", name);
    if (o.placement != train::ExpertPlacement::automatic) {
      throw InputError(fmt::format("{} = {} with placement = {}", name, *value, name_of(o.placement)), hint);
    }
    if (o.model.moe_every == 0) throw InputError(fmt::format("{} = {} with moe_every = 0", name, *value), hint);
  }
}

ExpertMover::ExpertMover(const train::TrainOptions& o, const PricingFiles& files, const model::DataShape& shape,
                         const gating::RoutingSizes& sizes, const comm::Communicator& world)
    : options_(o), world_(world) {
  const Nodes nodes = nodes_of(world.topology());
  const plan::RowTransport transport = model::planned_row_transport(o.transport, world, world.topology(), RankId{0});
  const Clock::time_point start = Clock::now();
  sim::Machine machine;
  if (files.machine.empty()) machine = measured_messages(world);
  const double took_s = seconds_since(start);
  train::on_root(world, [&] {
    sim::Workload workload = files.machine.empty() ? workload_sizes(o, shape) : training_workload(o, shape);
    workload.transport.waves = waves_of(workload, transport);
    if (!files.machine.empty()) {
      machine = sim::read_machine(read_file(files.machine), files.machine);
    } else {
      machine.compute = usual_machine(nodes.ranks_per_node, workload.threads).compute;
    }
    const sim::Cluster cluster =
        files.cluster.empty()
            ? sim::scaled_to(cluster_of_messages(machine, nodes.num_nodes, nodes.ranks_per_node), world.size())
            : described_cluster(files.cluster, nodes, world.size());
    basis_ = basis_of(files, machine, nodes, took_s);
    PricedRun run{std::move(workload), sim::Network(cluster), std::move(machine), !files.machine.empty(), sizes};
    try_price(run);
    moves_.emplace(o, std::move(run));
  });
}

void ExpertMover::begin() {
  if (moves_) moves_->begin();
}

void ExpertMover::add(const train::StepRecord& step) {
  if (moves_) moves_->add(step);
}

std::optional<std::vector<ExpertMap>> ExpertMover::better_places(Index done, double cost_s, const Tell& tell,
                                                                 const Tell& record) {
  std::string places;
  train::on_root(world_, [&] {
    tell_gain(tell);
    const Clock::time_point start = Clock::now();
    next_ = moves_->proposal();
    pricing_s_ = seconds_since(start);
    if (!next_) return;
    const auto to_come = static_cast<double>(std::min(options_.placement_within, options_.steps - done));
    if (next_->is_other && next_->gain_s * to_come > cost_s) {
      places = text_of_places(next_->placement);
      return;
    }
    record("experts stayed", fmt::format("after step {}: {}; a move takes {}; priced in {}", done, text_of(*next_),
                                         seconds_text(cost_s), seconds_text(pricing_s_)));
  });
  places = world_.broadcast(places);
  if (places.empty()) return std::nullopt;
  return places_of(places, world_.size());
}

void ExpertMover::moved(Index done, double took_s, const Tell& tell) {
  if (!moves_) return;
  tell(fmt::format("experts moved after step {}", done),
       fmt::format("{}; priced in {}, took {}", text_of(*next_), seconds_text(pricing_s_), seconds_text(took_s)));
  promise_ = Promise{done, next_->steps, next_->measured_s, next_->gain_s};
  moves_->made(*next_);
}

void ExpertMover::tell_gain(const Tell& tell) {
  if (!promise_ || !moves_->step_s()) return;
  const double after_s = *moves_->step_s();
  const double less_s = promise_->before_s - after_s;
  tell(fmt::format("the move after step {}", promise_->after),
       fmt::format("a step took {} before ({} steps) and takes {} ({} steps): {} {}; about {} less was predicted",
                   seconds_text(promise_->before_s), promise_->steps, seconds_text(after_s), moves_->timed_steps(),
                   seconds_text(std::abs(less_s)), less_s < 0.0 ? "more" : "less", seconds_text(promise_->gain_s)));
  promise_.reset();
}

}  // namespace conclave::apps
