// SPDX-License-Identifier: BSD-3-Clause
#include "apps/validation.hpp"

#include "apps/calibration_shapes.hpp"
#include "apps/command_line.hpp"
#include "apps/line_chart.hpp"
#include "apps/run_rates.hpp"
#include "apps/train_options.hpp"
#include "apps/training_workload.hpp"
#include "runtime/sim/cluster_scaling.hpp"
#include "runtime/sim/fit.hpp"
#include "runtime/train/agreed.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

// The options that a run was started with, as its log has them.
train::TrainOptions options_of(const MeasuredTraining& m) {
  train::TrainOptions options;
  OptionSections sections;
  describe_training(options, sections);
  for (const auto& [name, text] : m.run.config) {
    const Option* option = sections.find(name);
    if (option == nullptr || !option->assign(text)) {
      throw InputError(fmt::format("'{}' was run with {} = '{}'", m.folder, name, text),
                       "this version has no such option or value: validate with the version that ran it");
    }
  }
  options.compute.threads = m.run.threads;
  train::validate(options);
  return options;
}

// Without a description, nodes are joined as those were that messages were measured between.
sim::Cluster cluster_of_run(const ValidationOptions& o, const MeasuredTraining& m, const sim::Machine& machine) {
  const Index ranks_per_node = (m.run.ranks + m.nodes - 1) / m.nodes;
  if (o.cluster.empty()) return cluster_of_messages(machine, m.nodes, ranks_per_node);
  sim::Cluster cluster = cluster_of(o.cluster);
  cluster.ranks_per_node = ranks_per_node;
  return sim::scaled_to(cluster, m.run.ranks);
}

// Whether a step of these sizes was among those that rates are fitted to, wherever and however its rows travelled.
bool is_fitted(const sim::Workload& workload) {
  const auto compared = [](sim::Workload w) {
    w.transport = {};
    w.threads = 1;
    w.checkpoint_every = 0;
    if (w.dense_blocks == 0) w.dense = {};
    return w;
  };
  for (const CalibrationShape& shape : calibration_shapes(false)) {
    const auto samples = train::make_samples(shape.options);
    if (compared(training_workload(shape.options, samples->shape())) == compared(workload)) return true;
  }
  return false;
}

SettledTraining settled_run(const ValidationOptions& o, const MeasuredTraining& m, const sim::Machine& machine) {
  SettledTraining s;
  s.training = options_of(m);
  s.shape = train::make_samples(s.training)->shape();
  s.machine = machine;
  s.cluster = cluster_of_run(o, m, machine);
  s.workload = training_workload(s.training, s.shape);
  s.workload.threads = m.run.threads;
  if (s.workload.moe_blocks == 0) return s;
  if (m.layers != s.workload.moe_blocks) {
    throw InputError(
        fmt::format("'{}' logged {} MoE layers, its options have {}", m.folder, m.layers, s.workload.moe_blocks),
        "name the folder of another run");
  }
  s.loads = traced_loads(m.trace(s.workload.groups, s.workload.group_tokens), m.folder, s.workload);
  return s;
}

ValidatedRun validated_run(const ValidationOptions& o, const std::string& folder,
                           const std::vector<sim::Machine>& machines, const comm::Communicator& world) {
  ValidatedRun run;
  SettledTraining s;
  train::agreed(world, [&] {
    run.measured = measured_training(folder);
    s = settled_run(o, run.measured, machines.front());
    run.is_held_out = !is_fitted(s.workload);
  });
  run.parameters = s.workload.parameters();
  run.tokens = s.workload.tokens();
  std::vector<sim::TrainingPrice> prices;
  for (const sim::Machine& machine : machines) {
    s.machine = machine;
    s.cluster = cluster_of_run(o, run.measured, machine);
    prices.push_back(simulated_on(s, run.measured.run.ranks, world).price);
  }
  run.price = mean_of(prices);
  return run;
}

bool are_what_ifs(const ValidatedRun& a, const ValidatedRun& b) {
  constexpr double sure = 3.0;  // deviations
  const double apart = std::abs(a.measured.run.step_s - b.measured.run.step_s);
  return a.tokens == b.tokens && a.parameters == b.parameters &&
         apart > sure * std::hypot(a.measured.deviation_s, b.measured.deviation_s);
}

void rank_pairs(std::span<const ValidatedRun* const> runs, ValidationSummary& summary) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!are_what_ifs(*runs[i], *runs[j])) continue;
      ++summary.pairs;
      const bool is_slower = runs[i]->measured.run.step_s > runs[j]->measured.run.step_s;
      summary.ranked += (runs[i]->price.step_s > runs[j]->price.step_s) == is_slower ? 1 : 0;
    }
  }
}

}  // namespace

void describe(ValidationOptions& o, OptionTable& table) {
  table.add("machine", o.machine,
            "what was measured of a node, as conclave bench calibrate wrote it; several files with commas, where a "
            "machine's speed drifts: their predictions are averaged");
  table.add(
      "cluster", o.cluster,
      fmt::format("what is between nodes: {}; how many ranks a node has is taken from each run. Left out, messages "
                  "between nodes take what the machine's took, all at once",
                  cluster_help()));
}

double ValidatedRun::error_of_step(Phase phase) const {
  return (price.of(phase) - measured.phases_s[static_cast<std::size_t>(phase)]) / measured.run.step_s;
}

bool ValidationSummary::meets(const ValidationTargets& targets) const {
  return runs > 0 && median <= targets.median && most <= targets.most &&
         static_cast<double>(ranked) >= targets.ranked * static_cast<double>(pairs);
}

sim::TrainingPrice mean_of(std::span<const sim::TrainingPrice> prices) {
  invariant(!prices.empty(), "the mean of no predictions");
  const auto count = static_cast<double>(prices.size());
  sim::TrainingPrice mean = prices.front();
  mean.step_s = 0.0;
  mean.phases_s = {};
  double half_s = 0.0;
  for (const sim::TrainingPrice& price : prices) {
    mean.step_s += price.step_s / count;
    half_s += 0.5 * (price.high_s - price.low_s) / count;
    for (std::size_t p = 0; p < num_phases; ++p) mean.phases_s[p] += price.phases_s[p] / count;
  }
  double variance = 0.0;
  for (const sim::TrainingPrice& price : prices) variance += std::pow(price.step_s - mean.step_s, 2) / count;
  half_s = std::hypot(half_s, sim::deviations_of_90 * std::sqrt(variance));
  mean.low_s = std::max(0.0, mean.step_s - half_s);
  mean.high_s = mean.step_s + half_s;
  return mean;
}

ValidationSummary summary_of(std::span<const ValidatedRun> runs) {
  ValidationSummary summary;
  std::vector<double> errors;
  std::vector<const ValidatedRun*> held_out;
  for (const ValidatedRun& run : runs) {
    if (!run.is_held_out) continue;
    held_out.push_back(&run);
    errors.push_back(run.error());
    summary.within += run.is_within() ? 1.0 : 0.0;
  }
  if (held_out.empty()) return summary;
  summary.runs = std::ssize(held_out);
  summary.median = sim::median_size(errors);
  summary.most = sim::size_quantile(errors, 0.9);
  summary.within /= static_cast<double>(summary.runs);
  rank_pairs(held_out, summary);
  return summary;
}

Validation validated(const ValidationOptions& o, const Session& session) {
  if (session.arguments.empty()) throw InputError("no run was named", "name folders that conclave train wrote into");
  if (o.machine.empty()) {
    throw InputError("no machine was given", "give --machine what conclave bench calibrate wrote on it");
  }
  Validation v;
  std::vector<sim::Machine> machines;
  train::agreed(session.world, [&] {
    for (const std::string& file : o.machine) machines.push_back(sim::read_machine(read_file(file), file));
  });
  for (const sim::Machine& machine : machines) v.machines.push_back(machine.provenance);
  for (const std::string& folder : session.arguments) {
    v.runs.push_back(validated_run(o, folder, machines, session.world));
    const MeasuredTraining& m = v.runs.back().measured;
    for (const sim::Provenance& from : v.machines) {
      if (m.cpu == from.cpu) continue;
      v.warnings.push_back(fmt::format("{} ran on '{}', the machine was measured on '{}'", folder, m.cpu, from.cpu));
    }
    for (const std::string& note : v.runs.back().price.notes) v.warnings.push_back(fmt::format("{}: {}", folder, note));
  }
  v.summary = summary_of(v.runs);
  return v;
}

// --- Forms ---

namespace {

std::string signed_percent(double share) { return fmt::format("{:+.1f} %", 100.0 * share); }
std::string percent(double share) { return fmt::format("{:.1f} %", 100.0 * share); }

// The two phases that the step's error is mostly of.
std::string worst_phases(const ValidatedRun& run) {
  std::vector<std::pair<double, std::string_view>> errors;
  for (const auto& entry : enum_names(Phase{})) errors.emplace_back(run.error_of_step(entry.value), entry.name);
  std::ranges::stable_sort(errors, std::greater{}, [](const auto& e) { return std::abs(e.first); });
  return fmt::format("{} {}, {} {}", errors[0].second, signed_percent(errors[0].first), errors[1].second,
                     signed_percent(errors[1].first));
}

std::string runs_text(const Validation& v) {
  std::vector<Row> rows{
      {"run", "nodes", "ranks", "measured", "predicted", "off by", "9 of 10", "", "mostly (of the step)"}};
  for (const ValidatedRun& run : v.runs) {
    rows.push_back({run.measured.folder, fmt::format("{}", run.measured.nodes),
                    fmt::format("{}", run.measured.run.ranks), seconds_text(run.measured.run.step_s),
                    seconds_text(run.price.step_s), signed_percent(run.error()), run.is_within() ? "within" : "outside",
                    run.is_held_out ? "held out" : "fitted", worst_phases(run)});
  }
  return aligned(rows);
}

// Of the held-out runs in which a phase takes time: its share, and its errors as shares of the step.
std::string phases_text(const Validation& v) {
  std::vector<Row> rows{{"phase", "share", "bias", "off by", "9 of 10 within"}};
  for (const auto& entry : enum_names(Phase{})) {
    std::vector<double> shares, errors;
    for (const ValidatedRun& run : v.runs) {
      if (!run.is_held_out) continue;
      shares.push_back(run.measured.phases_s[static_cast<std::size_t>(entry.value)] / run.measured.run.step_s);
      errors.push_back(run.error_of_step(entry.value));
    }
    if (shares.empty()) continue;
    rows.push_back({std::string(entry.name), percent(sim::quantile(shares, 0.5)),
                    signed_percent(sim::quantile(errors, 0.5)), percent(sim::median_size(errors)),
                    percent(sim::size_quantile(errors, 0.9))});
  }
  return aligned(rows) + "  of the step, over the held-out runs: medians, and what 9 of 10 are within\n";
}

std::string verdict_text(const Validation& v) {
  const ValidationSummary& s = v.summary;
  if (s.runs == 0) return "  no run is held out: calibrations are fitted to steps as these\n";
  const auto line = [](const std::string& what, const std::string& found, const std::string& target, bool is_met) {
    return fmt::format("  {:<44}{:>10}   target {:<10}{}\n", what, found, target, is_met ? "met" : "missed");
  };
  std::string text = fmt::format("{} held-out runs\n", s.runs);
  text += line("off by, median", percent(s.median), percent(v.targets.median), s.median <= v.targets.median);
  text += line("off by, 9 of 10 within", percent(s.most), percent(v.targets.most), s.most <= v.targets.most);
  if (s.pairs > 0) {
    const double share = static_cast<double>(s.ranked) / static_cast<double>(s.pairs);
    text += line(fmt::format("of {} pairs of what-ifs, ranked rightly", s.pairs), percent(share),
                 percent(v.targets.ranked), share >= v.targets.ranked);
  }
  return text + line("within their intervals, which hold 9 of 10", percent(s.within), percent(0.9), s.within >= 0.9);
}

}  // namespace

std::string table_text(const Validation& v) {
  std::string text = "Predicted against measured\n";
  for (const sim::Provenance& from : v.machines) {
    text += fmt::format("  calibrated on {} ({}), {}\n", from.host, from.cpu, from.when);
  }
  text += runs_text(v);
  if (v.summary.runs > 0) text += fmt::format("\n{}", phases_text(v));
  text += fmt::format("\n{}", verdict_text(v));
  for (const std::string& warning : v.warnings) text += fmt::format("  {}\n", warning);
  return text;
}

std::string json_text(const Validation& v) {
  const ValidationSummary& s = v.summary;
  Json object{{"simulation", "validate"}, {"measured_on", v.machines.front().host}, {"runs", Json::array()}};
  for (const ValidatedRun& run : v.runs) {
    Json phases = Json::object();
    for (const auto& entry : enum_names(Phase{})) {
      phases[std::string(entry.name)] = {{"measured_s", run.measured.phases_s[static_cast<std::size_t>(entry.value)]},
                                         {"predicted_s", run.price.of(entry.value)}};
    }
    object["runs"].push_back({{"run", run.measured.folder},
                              {"nodes", run.measured.nodes},
                              {"ranks", run.measured.run.ranks},
                              {"steps", run.measured.run.steps},
                              {"held_out", run.is_held_out},
                              {"measured_s", run.measured.run.step_s},
                              {"predicted_s", run.price.step_s},
                              {"low_s", run.price.low_s},
                              {"high_s", run.price.high_s},
                              {"error", run.error()},
                              {"phases", std::move(phases)}});
  }
  object["summary"] = {{"held_out", s.runs}, {"median", s.median}, {"ninetieth", s.most},      {"within", s.within},
                       {"pairs", s.pairs},   {"ranked", s.ranked}, {"met", s.meets(v.targets)}};
  object["warnings"] = v.warnings;
  return object.dump(2) + '\n';
}

ResultTable table_of(const Validation& v) {
  struct Priced {
    const ValidatedRun* run;
    std::string phase;
    double measured_s;
    double predicted_s;
    double low_s;
    double high_s;
  };
  std::vector<Priced> lines;
  for (const ValidatedRun& run : v.runs) {
    lines.push_back({&run, "step", run.measured.run.step_s, run.price.step_s, run.price.low_s, run.price.high_s});
    for (const auto& entry : enum_names(Phase{})) {
      lines.push_back({&run, std::string(entry.name), run.measured.phases_s[static_cast<std::size_t>(entry.value)],
                       run.price.of(entry.value), NAN, NAN});
    }
  }
  const auto of = [&](std::string name, std::string unit, const auto& value) {
    return column(std::move(name), std::move(unit), lines, value);
  };
  return {of("run", "", [](const Priced& l) { return l.run->measured.folder; }),
          of("nodes", "1", [](const Priced& l) { return l.run->measured.nodes; }),
          of("ranks", "1", [](const Priced& l) { return l.run->measured.run.ranks; }),
          of("held_out", "1", [](const Priced& l) { return Index{l.run->is_held_out}; }),
          of("phase", "", [](const Priced& l) { return l.phase; }),
          of("measured_s", "s", [](const Priced& l) { return l.measured_s; }),
          of("predicted_s", "s", [](const Priced& l) { return l.predicted_s; }),
          of("low_s", "s", [](const Priced& l) { return l.low_s; }),
          of("high_s", "s", [](const Priced& l) { return l.high_s; })};
}

std::string picture_text(const Validation& v) {
  LineChart chart{"Steps: predicted against measured",
                  "measured [ms]",
                  "predicted [ms]",
                  {{"the same", {}, true}, {"held out", {}, false, true}, {"fitted", {}, false, true}}};
  double least = HUGE_VAL;
  double most = 0.0;
  for (const ValidatedRun& run : v.runs) {
    const Point point{1e3 * run.measured.run.step_s, 1e3 * run.price.step_s};
    chart.curves[run.is_held_out ? 1 : 2].points.push_back(point);
    least = std::min({least, point.x, point.y});
    most = std::max({most, point.x, point.y});
  }
  chart.curves[0].points = {{least, least}, {most, most}};
  if (chart.curves[2].points.empty()) chart.curves.pop_back();
  return svg_text(chart);
}

}  // namespace conclave::apps
