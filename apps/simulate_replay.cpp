// SPDX-License-Identifier: BSD-3-Clause
// The simulation `replay`: a recorded routing with other slots, other ranks and other placements of experts.
#include "apps/rank_counts.hpp"
#include "apps/replayed_routing.hpp"
#include "apps/result_table.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct ReplaySimulation {
  TrainingSimulation simulation;
  std::string ranks;
  std::vector<double> factors;
  std::vector<Index> replicas;
  ResultFiles files;
};

void describe_replay(ReplaySimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Simulation");
  describe(o.simulation, table);
  table.remove("routing");
  table.remove("skew");
  table.add("ranks", o.ranks,
            "how many ranks: numbers with commas, or FIRST:LAST:xFACTOR, or FIRST:LAST:STEP; none: as many as the "
            "cluster has");
  table.add("factors", o.factors, "capacity factors to replay; 0: slots for all tokens");
  table.add("replicas", o.replicas, "also balanced placements with so many copies of experts more");
  describe(o.files, table, "the placements");
  describe(o.simulation.training, sections);
}

/// A placement, its counts and its price.
struct PricedPlacement {
  ReplayedPlacement placement;
  sim::TrainingPrice price{};
};
struct PricedSlots {
  ReplayedSlots slots;
  sim::TrainingPrice price{};  // on the first number of ranks
};

struct Replayed {
  SettledTraining training;
  std::vector<Index> ranks{};
  double claimed = 0.0;  // of a step, on average over all of them
  double dropped = 0.0;
  std::vector<PricedSlots> slots{};
  std::vector<PricedPlacement> placements{};
  [[nodiscard]] const std::string& path() const { return training.routing.trace; }
  [[nodiscard]] const gating::RoutingTrace& trace() const { return *training.recorded; }
};

void count_recorded(Replayed& r) {
  const auto steps = static_cast<double>(r.trace().steps.size());
  for (const gating::RoutingStep& step : r.trace().steps) {
    for (std::size_t i = 0; i < step.claimed.size(); ++i) {
      r.claimed += static_cast<double>(step.claimed[i]) / steps;
      r.dropped += static_cast<double>(step.claimed[i] - step.kept[i]) / steps;
    }
  }
}

sim::TrainingPrice priced(const Replayed& r, const gating::RoutingTrace& trace, Index ranks,
                          const experts::Placement* placement, const comm::Communicator& world) {
  SettledTraining with = r.training;
  with.loads = traced_loads(trace, r.path(), with.workload);
  return simulated_on(with, ranks, world, placement).price;
}

void replay_placements(const ReplaySimulation& o, const comm::Communicator& world, Replayed& r) {
  const TraceHalves halves = halves_of(r.trace());
  for (const Index ranks : r.ranks) {
    for (ReplayedPlacement& placement : placements_for(halves.first, ranks, o.replicas)) {
      const sim::TrainingPrice price = priced(r, halves.rest, ranks, &placement.placement, world);
      count_rows(halves.rest, std::min(ranks, r.training.cluster.ranks_per_node), placement);
      r.placements.push_back({std::move(placement), price});
    }
  }
}

void refuse_other_layers(const Replayed& r) {
  if (r.training.workload.moe_blocks == r.trace().sizes.layers) return;
  throw InputError(fmt::format("'{}' is of {} MoE layers, the configuration has {}", r.path(), r.trace().sizes.layers,
                               r.training.workload.moe_blocks),
                   "give the configuration of the run that recorded it: --config");
}

Replayed replayed(const ReplaySimulation& o, const Session& session) {
  if (session.arguments.size() != 1) {
    throw InputError(fmt::format("{} traces", session.arguments.size()),
                     "name the one file that conclave train --record-routing wrote");
  }
  TrainingSimulation simulation = o.simulation;
  simulation.routing.trace = session.arguments.front();
  Replayed r{settled(simulation, session)};
  train::agreed(session.world, [&] {
    // Not asked for yet where the configuration has no MoE layers.
    if (!r.training.recorded) r.training.recorded = recorded_routing(r.training.routing);
    refuse_other_layers(r);
    r.ranks = o.ranks.empty() ? std::vector<Index>{r.training.cluster.num_ranks()} : parse_rank_counts(o.ranks);
  });
  count_recorded(r);
  for (const double factor : o.factors) {
    const ReplayedSlots slots = replay_slots(r.trace(), r.training.training, factor);
    const gating::RoutingTrace trace = trace_with_slots(r.trace(), r.training.training, slots.slots);
    r.slots.push_back({slots, priced(r, trace, r.ranks.front(), nullptr, session.world)});
  }
  replay_placements(o, session.world, r);
  return r;
}

// --- Forms ---

double row_bytes(const Replayed& r) {
  return static_cast<double>(r.training.workload.width) * r.training.workload.transport.wire_bytes;
}

// Rows out, results back, and their gradients.
constexpr double ways = 4.0;

std::string dropped_text(const ReplayedSlots& s) {
  const double least = 100.0 * s.least_dropped / s.claimed;
  const double most = 100.0 * s.most_dropped / s.claimed;
  if (s.least_dropped == s.most_dropped) return fmt::format("{:.2f} %", least);
  return fmt::format("{:.2f} to {:.2f} %", least, most);
}

std::string slots_text(const Replayed& r) {
  std::string text = fmt::format("\n  {:<18}{:>8}{:>22} | {:>12}{:>11}\n", "capacity factor", "slots",
                                 "dropped (counted)", "step (pred.)", "");
  text += fmt::format("  {:<18}{:>8}{:>20.2f} % |\n", "as recorded", "", 100.0 * r.dropped / r.claimed);
  for (const PricedSlots& s : r.slots) {
    text += fmt::format("  {:<18}{:>8}{:>22} | {:>12}{:>11}\n", s.slots.capacity_factor, s.slots.slots,
                        dropped_text(s.slots), seconds_text(s.price.step_s), interval_text(s.price));
  }
  return text +
         fmt::format("  step: on {} ranks, experts in even runs, claims lying evenly in groups\n", r.ranks.front());
}

std::string placements_text(const Replayed& r) {
  std::string text =
      fmt::format("\n  {:>7}  {:<22}{:>10}{:>8}{:>13}{:>13}{:>13} | {:>12}{:>11}\n", "ranks", "placement", "max/mean",
                  "worst", "rows to", "rows to", "bytes to", "step (pred.)", "");
  text += fmt::format("  {:>7}  {:<22}{:>10}{:>8}{:>13}{:>13}{:>13} |\n", "", "", "", "", "ranks", "nodes", "nodes");
  bool is_exact = true;
  for (const PricedPlacement& p : r.placements) {
    const ReplayedPlacement& c = p.placement;
    is_exact = is_exact && c.is_exact;
    const std::string about = c.is_exact ? "" : "~";
    const auto count = [&](double value) { return fmt::format("{}{:.4g}", about, value); };
    text += fmt::format("  {:>7}  {:<22}{:>10.3f}{:>8.3f}{:>13}{:>13}{:>13} | {:>12}{:>11}\n", c.ranks, c.name,
                        c.mean_over, c.most_over, count(c.to_ranks), count(c.to_nodes),
                        count(ways * row_bytes(r) * c.to_nodes), seconds_text(p.price.step_s), interval_text(p.price));
  }
  text +=
      "  max/mean: rows of the fullest rank over the mean, on average over layers and steps, and in the worst one\n"
      "  rows of a step, all MoE layers; bytes: there and back, forward and backward, each row by itself\n";
  if (!is_exact) {
    text +=
        "  ~: not counted but by shares: the trace tells classes of groups apart, not ranks, nor which of an "
        "expert's copies serves\n";
  }
  return text;
}

std::string text_of(const Replayed& r) {
  std::string text = fmt::format("{}: {} steps of {} MoE layers, {} experts, {} groups in {} classes\n", r.path(),
                                 r.trace().steps.size(), r.trace().sizes.layers, r.trace().sizes.experts,
                                 r.trace().sizes.groups, r.trace().sizes.classes);
  text += "  left of |: counted in the trace, facts of what it recorded; right: predicted\n";
  text += slots_text(r) + placements_text(r);
  text += r.trace().steps.size() > 1
              ? fmt::format("  placements are made by the first {} steps and counted and priced by the other {}\n",
                            r.trace().steps.size() / 2, r.trace().steps.size() - r.trace().steps.size() / 2)
              : "  placements are made by the one step that they are counted by\n";
  text += "  conclave train does so with --placement auto --placement-replicas\n";
  for (const std::string& note : r.placements.front().price.notes) text += fmt::format("  {}\n", note);
  return text + calibration_text(r.training);
}

Json json_of(const Replayed& r, const PricedPlacement& p) {
  const ReplayedPlacement& c = p.placement;
  return {{"ranks", c.ranks},
          {"placement", c.name},
          {"replicas", c.placement.num_replicas()},
          {"counted",
           {{"mean_over", c.mean_over},
            {"most_over", c.most_over},
            {"rows_to_ranks", c.to_ranks},
            {"rows_to_nodes", c.to_nodes},
            {"bytes_to_nodes", ways * row_bytes(r) * c.to_nodes},
            {"rows_are_exact", c.is_exact}}},
          {"predicted", {{"step_s", p.price.step_s}, {"low_s", p.price.low_s}, {"high_s", p.price.high_s}}}};
}

std::string json_text(const Replayed& r) {
  Json object{{"simulation", "replay"},     {"trace", r.path()},    {"steps", r.trace().steps.size()},
              {"claimed", r.claimed},       {"dropped", r.dropped}, {"slots", Json::array()},
              {"placements", Json::array()}};
  add_calibration(r.training, object);
  for (const PricedSlots& s : r.slots) {
    object["slots"].push_back(
        {{"capacity_factor", s.slots.capacity_factor},
         {"slots", s.slots.slots},
         {"counted", {{"least_dropped", s.slots.least_dropped}, {"most_dropped", s.slots.most_dropped}}},
         {"predicted", {{"step_s", s.price.step_s}, {"low_s", s.price.low_s}, {"high_s", s.price.high_s}}}});
  }
  for (const PricedPlacement& p : r.placements) object["placements"].push_back(json_of(r, p));
  return object.dump(2) + '\n';
}

ResultTable table_of(const Replayed& r) {
  const auto of = [&](std::string name, std::string unit, const auto& value) {
    return column(std::move(name), std::move(unit), r.placements, value);
  };
  return {of("ranks", "1", [](const PricedPlacement& p) { return p.placement.ranks; }),
          of("placement", "", [](const PricedPlacement& p) { return p.placement.name; }),
          of("replicas", "1", [](const PricedPlacement& p) { return p.placement.placement.num_replicas(); }),
          of("counted_mean_over", "1", [](const PricedPlacement& p) { return p.placement.mean_over; }),
          of("counted_most_over", "1", [](const PricedPlacement& p) { return p.placement.most_over; }),
          of("counted_rows_to_ranks", "rows", [](const PricedPlacement& p) { return p.placement.to_ranks; }),
          of("counted_rows_to_nodes", "rows", [](const PricedPlacement& p) { return p.placement.to_nodes; }),
          of("rows_are_exact", "1", [](const PricedPlacement& p) { return Index{p.placement.is_exact}; }),
          of("predicted_step_s", "s", [](const PricedPlacement& p) { return p.price.step_s; }),
          of("predicted_low_s", "s", [](const PricedPlacement& p) { return p.price.low_s; }),
          of("predicted_high_s", "s", [](const PricedPlacement& p) { return p.price.high_s; })};
}

int replay(const ReplaySimulation& o, const Session& session) {
  refuse_unwritable(session.world, o.files);
  const Replayed r = replayed(o, session);
  train::on_root(session.world, [&] {
    fmt::print("{}", o.simulation.json ? json_text(r) : text_of(r));
    write(o.files, table_of(r));
  });
  return 0;
}

}  // namespace

Command simulate_replay() {
  return make_command<ReplaySimulation>(
      "replay", "a recorded routing with other slots, on other ranks, with other placements of experts", "TRACE",
      describe_replay, replay);
}

}  // namespace conclave::apps
