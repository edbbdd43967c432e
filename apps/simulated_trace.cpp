// SPDX-License-Identifier: BSD-3-Clause
#include "apps/simulated_trace.hpp"

#include "apps/bench.hpp"
#include "apps/trace_file.hpp"
#include "runtime/sim/step_timeline.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

constexpr Index most_traced_ranks = 1024;  // no viewer shows more, and each takes as much of the file

// What a reader has to know of where spans stand.
constexpr std::array drawn{
    "durations are the price's; ranks meet at every exchange and wait there for the slowest",
    "critical path: of each part the rank that takes longest, so no single rank; mean: on hosts as fast as they should "
    "be",
    "rank N: its own groups, parameters and host, and the rows that its experts get on average",
    "layers with experts are alike, on average over the cases of loads; so are blocks of one kind, and passes",
    "a third of each phase's time is drawn forward, of copying rows (dispatch, combine) half: only their sums are "
    "known",
    "waves: experts in even parts, what is exposed between them lying evenly; rows of all waves leave at once, results "
    "when their wave is done, no later than the layer's end allows",
    "rows and bytes on their way are those of all ranks, with those that stay where they are"};

std::vector<RankId> ranks_of(const SimulatedTrace& o, const SimulatedPoint& point) {
  std::vector<RankId> ranks;
  for (RankId rank; rank < RankId{std::min(o.trace_ranks, point.ranks)}; ++rank) ranks.push_back(rank);
  if (o.trace_ranks > 0 && point.price.slowest >= RankId{std::ssize(ranks)}) ranks.push_back(point.price.slowest);
  return ranks;
}

Json about(const SettledTraining& s, const PlacedTraining& on, const SimulatedPoint& point) {
  const sim::TrainingPrice& price = point.price;
  Json object{{"command", "simulate run"},
              {"predicted", true},
              {"ranks", point.ranks},
              {"nodes", point.nodes},
              {"fabric", name_of(s.cluster.fabric.kind)},
              {"routing", s.routing.text()},
              {"exchange", price.exchange},
              {"waves", on.workload.transport.waves},
              {"step_s", price.step_s},
              {"low_s", price.low_s},
              {"high_s", price.high_s},
              {"phases", Json::object()},
              {"exposed_s", price.exposed_s},
              {"imbalance_s", price.imbalance_s},
              {"slowest_rank", price.slowest.value()},
              {"critical_path", Json::array()},
              {"drawn", drawn},
              {"notes", price.notes}};
  for (const auto& entry : enum_names(Phase{})) object["phases"][std::string(entry.name)] = price.of(entry.value);
  for (const sim::PathPart& part : price.path) {
    object["critical_path"].push_back({{"stretch", part.what}, {"time_s", part.seconds}, {"bound_by", part.binding}});
  }
  add_calibration(s, object);
  return object;
}

/// Numbers a trace's rows: rank r's process is r + 1, those of all ranks follow.
class Rows {
 public:
  Rows(TraceFile& file, Index ranks) : file_(file), next_(ranks + 1) {}

  void add(RankId rank, const std::vector<Span>& spans) {
    add(rank.value() + 1, trace_name(rank), {{"main thread", spans}});
  }
  void add_of_all(const std::string& name, const std::vector<std::pair<std::string, std::vector<Span>>>& threads) {
    add(next_++, name, threads);
  }

 private:
  void add(Index process, const std::string& name,
           const std::vector<std::pair<std::string, std::vector<Span>>>& threads) {
    TraceEvents events;
    events.name_process(process, name, place_++);
    TraceRow row{process, 0};
    for (const auto& [thread, spans] : threads) {
      ++row.thread;
      events.name_thread(row, thread);
      for (const Span& span : spans) events.add(row, span);
    }
    file_.write(events.text());
  }

  TraceFile& file_;
  Index next_;
  Index place_ = 0;
};

}  // namespace

void describe(SimulatedTrace& o, OptionTable& table) {
  table.add("trace", o.trace,
            "a file to write the step into, for Perfetto or chrome://tracing: spans by phase, layer and wave; of one "
            "number of ranks");
  table.add("trace_ranks", o.trace_ranks,
            "so many ranks have rows of their own there, beside the critical path, the mean and the slowest; 0: none");
}

void validate(const SimulatedTrace& o, const Session& session) {
  if (o.trace_ranks < 0 || o.trace_ranks > most_traced_ranks) {
    throw InputError(fmt::format("trace_ranks = {}", o.trace_ranks),
                     fmt::format("give 1 to {} ranks, or 0 for none", most_traced_ranks));
  }
  if (o.trace.empty() && session.given.contains("trace_ranks")) {
    throw InputError("trace_ranks without trace", "it says which ranks --trace FILE draws: give both or none");
  }
  refuse_unwritable(session.world, "trace", o.trace);
}

void write_trace(const SimulatedTrace& o, const SettledTraining& s, const SimulatedPoint& point,
                 const comm::Communicator& world) {
  const PlacedTraining on = placed(s, point.ranks, world);
  train::on_root(world, [&] {
    sim::StepLog log(ranks_of(o, point));
    const sim::TrainingPrice price = sim::price_training_step(case_of(s, on, nullptr), &log);
    invariant(price.step_s == point.price.step_s, "a step of {} s, traced as one of {} s", point.price.step_s,
              price.step_s);
    const sim::StepTimeline step(log, on.workload, s.training.model.moe_blocks());
    TraceFile file(o.trace, about(s, on, point));
    Rows rows(file, point.ranks);
    rows.add_of_all("critical path", {{"the slowest rank of each part", step.slowest()}});
    rows.add_of_all("mean over ranks", {{"main thread", step.mean()}});
    const sim::StepTimeline::Transfers transfers = step.transfers();
    rows.add_of_all("between ranks", {{"rows on their way", transfers.rows}, {"sums on their way", transfers.sums}});
    for (std::size_t i = 0; i < log.ranks.size(); ++i) rows.add(log.ranks[i], step.of_rank(i));
    file.close();
  });
}

}  // namespace conclave::apps
