// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/run_tables.hpp"

#include <fmt/ranges.h>

namespace conclave::train {
namespace {

using model::LayerStatistics;

/// A table of one number for each record, or for each layer of it.
template <class Record>
struct Column {
  std::string_view name;
  std::string_view unit;  // "1": a plain number
  std::string_view meaning;
  std::variant<double (*)(const Record&), Index (*)(const Record&)> value;
};

using StepColumn = Column<StepRecord>;
using LayerColumn = Column<LayerStatistics>;
using EvaluationColumn = Column<Evaluation>;

constexpr std::array<StepColumn, 10> step_columns{{
    {"step", "steps", "steps done, this one included", [](const StepRecord& r) { return r.step; }},
    {"tokens", "tokens", "tokens of the step", [](const StepRecord& r) { return r.tokens; }},
    {"loss", "nats/token", "cross entropy", [](const StepRecord& r) { return r.loss; }},
    {"router_loss", "1", "the routers' losses with their coefficients, over all layers",
     [](const StepRecord& r) { return r.router_loss; }},
    {"gradient_norm", "1", "norm of the gradient before clipping", [](const StepRecord& r) { return r.gradient_norm; }},
    {"learning_rate", "1", "of the step", [](const StepRecord& r) { return r.learning_rate; }},
    {"seconds", "s", "time of the step on the slowest rank", [](const StepRecord& r) { return r.seconds; }},
    {"tokens_per_s", "tokens/s", "tokens over seconds", [](const StepRecord& r) { return r.tokens_per_s(); }},
    {"drop_rate", "1", "share of all claims that got no slot, over all layers",
     [](const StepRecord& r) { return r.drop_rate(); }},
    {"skipped", "1", "1: the step changed nothing, because its numbers were not finite or it was told to",
     [](const StepRecord& r) { return Index{r.skipped.empty() ? 0 : 1}; }},
}};

constexpr std::array<LayerColumn, 11> layer_columns{{
    {"over_capacity", "claims", "claims dropped because no slot was free",
     [](const LayerStatistics& s) { return s.over_capacity; }},
    {"refused_second", "claims", "second choices turned down by a random policy",
     [](const LayerStatistics& s) { return s.refused_second; }},
    {"unchosen", "tokens", "tokens that no expert chose", [](const LayerStatistics& s) { return s.unchosen; }},
    {"rerouted", "claims", "claims served by another expert than they asked for",
     [](const LayerStatistics& s) { return s.rerouted; }},
    {"unserved", "tokens", "tokens without any expert", [](const LayerStatistics& s) { return s.unserved; }},
    {"imbalance", "1", "load of the fullest expert over the mean",
     [](const LayerStatistics& s) { return s.imbalance(); }},
    {"effective_experts", "experts", "exp of the entropy of the load over experts",
     [](const LayerStatistics& s) { return s.effective_experts(); }},
    {"balance", "1", "balance loss without its coefficient", [](const LayerStatistics& s) { return s.balance; }},
    {"z", "1", "z loss without its coefficient", [](const LayerStatistics& s) { return s.z; }},
    {"importance", "1", "importance loss without its coefficient",
     [](const LayerStatistics& s) { return s.importance; }},
    {"entropy", "nats", "entropy of the router's distribution, mean over tokens",
     [](const LayerStatistics& s) { return s.entropy; }},
}};

constexpr std::array<EvaluationColumn, 4> evaluation_columns{{
    {"step", "steps", "steps trained", [](const Evaluation& e) { return e.step; }},
    {"tokens", "tokens", "held-out tokens", [](const Evaluation& e) { return e.tokens; }},
    {"loss", "nats/token", "cross entropy", [](const Evaluation& e) { return e.loss; }},
    {"accuracy", "1", "share of tokens (samples, where they have classes) that are predicted rightly",
     [](const Evaluation& e) { return e.accuracy; }},
}};

std::map<std::string, std::string> described(std::string_view unit, std::string_view meaning) {
  return {{"unit", std::string(unit)}, {"meaning", std::string(meaning)}};
}

/// One row: a number for each of `entries`.
template <class Record>
Table row(std::string_view group, const Column<Record>& column, std::vector<Index> row_shape,
          std::span<const Record> entries) {
  Table table{
      fmt::format("{}/{}", group, column.name), std::move(row_shape), described(column.unit, column.meaning), {}};
  std::visit(
      [&]<class T>(T (*value)(const Record&)) {
        std::vector<T> numbers;
        for (const Record& entry : entries) numbers.push_back(value(entry));
        table.values = std::move(numbers);
      },
      column.value);
  return table;
}

Table communication_row(const PhaseSpread& p) {
  Table table{"/steps/communication",
              {3},
              described("s",
                        "time that data was on its way between ranks, hidden or not, "
                        "of each exchange by itself, over ranks"),
              std::vector<double>{p.min_s, p.mean_s, p.max_s}};
  table.attributes["columns"] = "min,mean,max";
  return table;
}

Table phases_row(const StepRecord& record) {
  std::vector<std::string_view> names;
  for (const auto& entry : enum_names(Phase{})) names.push_back(entry.name);
  Table table{"/steps/phases", {num_phases, 3}, described("s", "time in each phase, over ranks"), {}};
  table.attributes["phases"] = fmt::format("{}", fmt::join(names, ","));
  table.attributes["columns"] = "min,mean,max";
  std::vector<double> numbers;
  for (const PhaseSpread& p : record.phases) numbers.insert(numbers.end(), {p.min_s, p.mean_s, p.max_s});
  table.values = std::move(numbers);
  return table;
}

// These came with a later version: a log that was begun without them is gone on with as it is.
std::vector<Table> attribution_rows(const Attribution& a) {
  std::vector<Table> tables;
  tables.push_back({"/steps/attribution",
                    {4},
                    described("s", "time of the step, mean over ranks, by where it went"),
                    std::vector<double>{a.compute_s, a.exposed_s, a.imbalance_s, a.io_s}});
  tables.back().attributes["columns"] = "compute,exposed,imbalance,io";
  tables.push_back({"/steps/slowest_rank",
                    {},
                    described("1", "the rank that the others waited for longest"),
                    std::vector<Index>{a.slowest.value()}});
  tables.push_back({"/steps/waited_s",
                    {},
                    described("s", "of the imbalance, what was waited for that rank"),
                    std::vector<double>{a.waited_s}});
  tables.push_back({"/steps/slowest_stretch",
                    {},
                    described("1",
                              "what of that rank was waited for: 0 data, 1 what it does outside of MoE layers, "
                              "2 + 2 l its own tokens in MoE layer l, 3 + 2 l its experts there"),
                    std::vector<Index>{a.slowest_stretch}});
  tables.push_back({"/steps/slowest_expert",
                    {},
                    described("1", "the fullest of these experts; -1 where it was not for experts"),
                    std::vector<Index>{a.slowest_expert ? a.slowest_expert->value() : -1}});
  if (!a.layers.empty()) {
    std::vector<double> numbers;
    for (const Attribution::Layer& layer : a.layers) {
      numbers.insert(numbers.end(), {layer.compute_s, layer.exposed_s, layer.imbalance_s});
    }
    tables.push_back({"/steps/layer_attribution",
                      {std::ssize(a.layers), 3},
                      described("s", "time of each layer, with experts or without, mean over ranks, by where it went"),
                      std::move(numbers)});
    tables.back().attributes["columns"] = "compute,exposed,imbalance";
  }
  for (Table& table : tables) table.is_optional = true;
  return tables;
}

Table load_row(const std::vector<LayerStatistics>& layers) {
  const Index num_experts = std::ssize(layers.front().load);
  std::vector<Index> numbers;
  for (const LayerStatistics& layer : layers) {
    invariant(std::ssize(layer.load) == num_experts, "an MoE layer of {} experts beside one of {}", layer.load.size(),
              num_experts);
    numbers.insert(numbers.end(), layer.load.begin(), layer.load.end());
  }
  return {"/steps/load", {std::ssize(layers), num_experts}, described("claims", "claims before capacity"), numbers};
}

}  // namespace

std::vector<Table> rows_of(const StepRecord& record) {
  std::vector<Table> tables;
  for (StepColumn column : step_columns) {
    if (column.name == "loss") column.unit = record.loss_unit;
    tables.push_back(row<StepRecord>("/steps", column, {}, std::span(&record, 1)));
  }
  tables.push_back(phases_row(record));
  tables.push_back(communication_row(record.communication));
  for (Table& table : attribution_rows(record.attribution)) tables.push_back(std::move(table));
  if (record.layers.empty()) return tables;
  tables.push_back(load_row(record.layers));
  for (const LayerColumn& column : layer_columns) {
    tables.push_back(row<LayerStatistics>("/steps", column, {std::ssize(record.layers)}, record.layers));
  }
  return tables;
}

std::vector<Table> drop_rows_of(const StepRecord& record) {
  if (record.drops.empty()) return {};
  std::vector<std::string_view> reasons;
  for (const auto& entry : enum_names(gating::DropReason{})) reasons.push_back(entry.name);
  const auto column = [&](std::string_view name, std::string_view meaning, auto&& value) {
    std::vector<Index> numbers;
    for (const model::DropRecord& drop : record.drops) numbers.push_back(value(drop));
    return Table{fmt::format("/drops/{}", name), {}, described("1", meaning), numbers};
  };
  using model::DropRecord;
  std::vector<Table> tables{
      column("step", "the step, counted from 1", [&](const DropRecord&) { return record.step; }),
      column("layer", "the MoE layer, counted from 0", [](const DropRecord& d) { return d.layer; }),
      column("token", "the token's number in the step: its sequence times the context, plus its place",
             [](const DropRecord& d) { return d.token; }),
      column("choice", "the choice that was lost, 0 the best", [](const DropRecord& d) { return d.choice; }),
      column("expert", "the expert that it asked for; -1: no expert chose the token",
             [](const DropRecord& d) { return d.expert; }),
      column("reason", "why, by its place in the attribute \"reasons\"",
             [](const DropRecord& d) { return static_cast<Index>(d.reason); })};
  tables.back().attributes["reasons"] = fmt::format("{}", fmt::join(reasons, ","));
  return tables;
}

std::vector<Table> rows_of(const RunStart& start) {
  return {{"/starts/step",
           {},
           described("steps", "steps done when a process began, resumed or went back"),
           std::vector<Index>{start.step}},
          {"/starts/ranks", {}, described("1", "ranks from then on; 0: not known"), std::vector<Index>{start.ranks}}};
}

std::vector<Table> rows_of(const SavedCheckpoint& save) {
  return {
      {"/saves/step", {}, described("steps", "steps of a checkpoint that stood"), std::vector<Index>{save.step}},
      {"/saves/seconds", {}, described("s", "from its beginning until it stood"), std::vector<double>{save.seconds}}};
}

std::vector<Table> rows_of(const TrafficRecord& traffic) {
  std::vector<Index> from, to, rows;
  for (Index i = 0; i < std::ssize(traffic.rows); ++i) {
    const Index count = traffic.rows[static_cast<std::size_t>(i)];
    if (count == 0 && i > 0) continue;
    from.push_back(i / traffic.places());
    to.push_back(i % traffic.places());
    rows.push_back(count);
  }
  const auto all = [&](Index value) { return std::vector<Index>(rows.size(), value); };
  return {{"/traffic/step", {}, described("steps", "the last of the steps that are counted"), all(traffic.step)},
          {"/traffic/steps", {}, described("steps", "how many they are"), all(traffic.steps)},
          {"/traffic/ranks", {}, described("1", "ranks then"), all(traffic.ranks)},
          {"/traffic/nodes",
           {},
           described("1", "0: places are ranks; else they are nodes, of which there were so many"),
           all(traffic.nodes)},
          {"/traffic/row_bytes", {}, described("B", "of a row, each time that it travels"), all(traffic.row_bytes)},
          {"/traffic/from", {}, described("1", "the place of the tokens"), from},
          {"/traffic/to", {}, described("1", "the place of their experts"), to},
          {"/traffic/rows",
           {},
           described("rows", "copies of tokens that went to experts in these steps, over passes and MoE layers"),
           rows}};
}

std::vector<Table> rows_of(const ExchangeDecision& decision) {
  return {{"/exchanges/step",
           {},
           described("steps", "the step in which it was decided how rows travel, by measuring until then"),
           std::vector<Index>{decision.step}}};
}

std::vector<Table> rows_of(const Evaluation& evaluation) {
  const std::string_view group = evaluation.split == Split::test ? "/tests" : "/evaluations";
  std::vector<Table> tables;
  for (EvaluationColumn column : evaluation_columns) {
    if (column.name == "loss") column.unit = evaluation.loss_unit;
    tables.push_back(row<Evaluation>(group, column, {}, std::span(&evaluation, 1)));
  }
  const Confusion& confusion = evaluation.confusion;
  if (confusion.classes() > 0) {
    tables.push_back({fmt::format("{}/macro_f1", group),
                      {},
                      described("1", "mean F1 over the classes with samples or predictions"),
                      std::vector<double>{confusion.macro_f1()}});
    tables.push_back({fmt::format("{}/confusion", group),
                      {confusion.classes(), confusion.classes()},
                      described("samples", "a row for each true class, a column for each predicted one"),
                      confusion.counts()});
  }
  const auto add = [&](std::string_view name, std::string_view meaning, const std::vector<double>& values) {
    if (!values.empty())
      tables.push_back({fmt::format("{}/{}", group, name), {std::ssize(values)}, described("1", meaning), values});
  };
  add("domain_information", "what an expert says about a token's domain, 0 (nothing) to 1 (all)",
      evaluation.domain_information);
  add("layer_agreement",
      "what a token's expert in an MoE layer says about its expert in the next one, 0 (nothing) to 1 (all)",
      evaluation.layer_agreement);
  return tables;
}

}  // namespace conclave::train
