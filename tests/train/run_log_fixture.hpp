// SPDX-License-Identifier: BSD-3-Clause
// Records of a run that are functions of the step, and what a log must hold of them.
#pragma once

#include "runtime/core/random.hpp"
#include "runtime/train/run_log.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>

namespace conclave::train {

using test::content_of;

/// The sizes of the tables of a run.
struct LogShape {
  Index layers = 3;
  Index experts = 5;
  bool domains = true;  // are known
  Index classes = 0;    // of samples; 0: it is a run without
};

inline model::LayerStatistics some_layer(const Random& random, Index layer, Index experts) {
  model::LayerStatistics s;
  for (Index e = 0; e < experts; ++e) s.load.push_back(random.bits(layer, e) % 1000 + 1);
  s.over_capacity = random.bits(layer, 100) % 50 + 1;
  s.refused_second = random.bits(layer, 101) % 50 + 1;
  s.unchosen = random.bits(layer, 106) % 50 + 1;
  s.rerouted = random.bits(layer, 107) % 50 + 1;
  s.unserved = random.bits(layer, 108) % 50 + 1;
  s.balance = random.normal(layer, 102);
  s.z = random.normal(layer, 103);
  s.importance = random.normal(layer, 104);
  s.entropy = random.uniform(layer, 105);
  return s;
}

/// Data, outside of MoE layers, the first layer's experts, its own tokens, data, ...
inline Index some_stretch(Index step, const LogShape& shape) {
  const std::array of_layers{stretch_of_data, stretch_outside, stretch_of_experts(0), stretch_of_own(0)};
  return of_layers[static_cast<std::size_t>(step % (shape.layers > 0 ? 4 : 2))];
}

inline StepRecord some_step(Index step, const LogShape& shape = {}) {
  const Random random(7, RandomStream::initial, 0, step);
  StepRecord r;
  r.step = step;
  r.tokens = random.bits(0, 0) % 4096 + 1;
  r.loss = random.normal(1, 0);
  r.router_loss = random.normal(2, 0);
  r.gradient_norm = random.uniform(3, 0);
  r.learning_rate = random.uniform(4, 0);
  r.seconds = random.uniform(5, 0);
  for (Index p = 0; p < std::ssize(r.phases); ++p) {
    r.phases[p] = {random.uniform(6, p), random.uniform(7, p), random.uniform(8, p)};
  }
  r.communication = {random.uniform(9, 100), random.uniform(9, 101), random.uniform(9, 102)};
  r.attribution = {.compute_s = random.uniform(9, 110),
                   .exposed_s = random.uniform(9, 111),
                   .imbalance_s = random.uniform(9, 112),
                   .io_s = random.uniform(9, 113),
                   .slowest = RankId{step % 5},
                   .waited_s = random.uniform(9, 114),
                   .slowest_stretch = some_stretch(step, shape),
                   .slowest_expert = {},
                   .layers = {},
                   .stretches_s = {}};
  for (Index l = 0; l < shape.layers + 1; ++l) {  // one of them is without experts
    r.attribution.layers.push_back(
        {random.uniform(9, 120 + l), random.uniform(9, 140 + l), random.uniform(9, 160 + l)});
  }
  if (layer_of_experts(r.attribution.slowest_stretch)) r.attribution.slowest_expert = ExpertId{step % shape.experts};
  for (Index l = 0; l < shape.layers; ++l) r.layers.push_back(some_layer(random, 10 + l, shape.experts));
  // No drop, one, two, none, ...
  for (Index d = 0; d < step % 3 && shape.layers > 0; ++d) {
    r.drops.push_back({d, random.bits(9, d) % 1000, d, random.bits(9, 10 + d) % shape.experts,
                       d == 0 ? gating::DropReason::refused_second : gating::DropReason::unchosen});
  }
  if (step % 7 == 3) r.skipped = fmt::format("step {}: of no use", step);
  if (step % 5 == 0) r.alarms.push_back(fmt::format("alarm {}", step));
  return r;
}

inline Evaluation some_evaluation(Index step, const LogShape& shape = {}) {
  const Random random(8, RandomStream::initial, 0, step);
  Evaluation e;
  e.step = step;
  e.tokens = random.bits(0, 0) % 4096 + 1;
  e.loss = random.normal(1, 0);
  e.accuracy = random.uniform(2, 0);
  e.loss_unit = loss_unit(shape.classes > 0);
  e.confusion = Confusion(shape.classes);
  for (Index& count : e.confusion.counts()) count = random.bits(4, &count - e.confusion.counts().data()) % 100;
  for (Index l = 0; shape.domains && l < shape.layers; ++l) e.domain_information.push_back(random.uniform(3, l));
  for (Index l = 0; l < shape.layers; ++l) e.layers.push_back(some_layer(random, 10 + l, shape.experts));
  for (Index l = 1; l < shape.layers; ++l) e.layer_agreement.push_back(random.uniform(4, l));
  return e;
}

/// After every fourth step there is an evaluation.
inline bool has_evaluation(Index step) { return step % 4 == 0; }

inline void append(RunLog& log, Index step, const LogShape& shape = {}) {
  log.append(some_step(step, shape));
  if (has_evaluation(step)) log.append(some_evaluation(step, shape));
}

/// metrics.jsonl after the steps [1, last].
inline std::string expected_lines(Index last, const LogShape& shape = {}) {
  std::string lines;
  for (Index step = 1; step <= last; ++step) {
    lines += to_json(some_step(step, shape)) + '\n';
    if (has_evaluation(step)) lines += to_json(some_evaluation(step, shape)) + '\n';
  }
  return lines;
}

/// A table's values must be those of `value(record)`, bit for bit, for all records.
template <class T, class Record, class Value>
void expect_table(const Hdf5File& file, const std::string& name, const std::vector<Record>& records,
                  const std::vector<Index>& row_shape, Value&& value) {
  std::vector<T> expected;
  for (const Record& record : records) value(record, expected);
  std::vector<Index> shape = row_shape;
  shape.insert(shape.begin(), std::ssize(records));
  ASSERT_EQ(file.shape(name), shape) << name;
  EXPECT_EQ(file.type(name), (std::is_same_v<T, double> ? Hdf5Type::float64 : Hdf5Type::int64)) << name;
  const std::vector<T> found = file.read<T>(name);
  ASSERT_EQ(found.size(), expected.size()) << name;
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint64_t>(found[i]), std::bit_cast<std::uint64_t>(expected[i])) << name << " " << i;
  }
  EXPECT_NE(file.attribute<std::string>(name, "unit"), "") << name;
  EXPECT_NE(file.attribute<std::string>(name, "meaning"), "") << name;
}

/// A table of one number a record.
template <class Record, class Member>
void expect_numbers(const Hdf5File& file, const std::string& name, const std::vector<Record>& records, Member member) {
  using Number = std::remove_cvref_t<std::invoke_result_t<Member, const Record&>>;
  expect_table<Number>(file, name, records, {},
                       [&](const Record& r, auto& out) { out.push_back(std::invoke(member, r)); });
}

/// A table of one number a layer.
template <class Member>
void expect_layer_numbers(const Hdf5File& file, const std::string& name, const std::vector<StepRecord>& steps,
                          Member member) {
  using Number = std::remove_cvref_t<std::invoke_result_t<Member, const model::LayerStatistics&>>;
  expect_table<Number>(file, name, steps, {std::ssize(steps.front().layers)}, [&](const StepRecord& r, auto& out) {
    for (const model::LayerStatistics& layer : r.layers) out.push_back(std::invoke(member, layer));
  });
}

inline void expect_layer_tables(const Hdf5File& file, const std::vector<StepRecord>& steps, const LogShape& shape) {
  if (shape.layers == 0) {
    EXPECT_FALSE(file.exists("/steps/load"));
    EXPECT_FALSE(file.exists("/steps/entropy"));
    return;
  }
  expect_table<Index>(file, "/steps/load", steps, {shape.layers, shape.experts}, [](const auto& r, auto& out) {
    for (const auto& layer : r.layers) out.insert(out.end(), layer.load.begin(), layer.load.end());
  });
  expect_layer_numbers(file, "/steps/over_capacity", steps, &model::LayerStatistics::over_capacity);
  expect_layer_numbers(file, "/steps/refused_second", steps, &model::LayerStatistics::refused_second);
  expect_layer_numbers(file, "/steps/unchosen", steps, &model::LayerStatistics::unchosen);
  expect_layer_numbers(file, "/steps/rerouted", steps, &model::LayerStatistics::rerouted);
  expect_layer_numbers(file, "/steps/unserved", steps, &model::LayerStatistics::unserved);
  expect_layer_numbers(file, "/steps/imbalance", steps, &model::LayerStatistics::imbalance);
  expect_layer_numbers(file, "/steps/effective_experts", steps, &model::LayerStatistics::effective_experts);
  expect_layer_numbers(file, "/steps/balance", steps, &model::LayerStatistics::balance);
  expect_layer_numbers(file, "/steps/z", steps, &model::LayerStatistics::z);
  expect_layer_numbers(file, "/steps/importance", steps, &model::LayerStatistics::importance);
  expect_layer_numbers(file, "/steps/entropy", steps, &model::LayerStatistics::entropy);
}

inline void expect_attribution(const Hdf5File& file, const std::vector<StepRecord>& steps, const LogShape& shape) {
  expect_table<double>(file, "/steps/attribution", steps, {4}, [](const auto& r, auto& out) {
    const Attribution& a = r.attribution;
    out.insert(out.end(), {a.compute_s, a.exposed_s, a.imbalance_s, a.io_s});
  });
  EXPECT_EQ(file.attribute<std::string>("/steps/attribution", "columns"), "compute,exposed,imbalance,io");
  expect_numbers(file, "/steps/slowest_rank", steps, [](const StepRecord& r) { return r.attribution.slowest.value(); });
  expect_numbers(file, "/steps/waited_s", steps, [](const StepRecord& r) { return r.attribution.waited_s; });
  expect_numbers(file, "/steps/slowest_stretch", steps,
                 [](const StepRecord& r) { return r.attribution.slowest_stretch; });
  expect_numbers(file, "/steps/slowest_expert", steps, [](const StepRecord& r) {
    return r.attribution.slowest_expert ? r.attribution.slowest_expert->value() : Index{-1};
  });
  expect_table<double>(file, "/steps/layer_attribution", steps, {shape.layers + 1, 3}, [](const auto& r, auto& out) {
    for (const Attribution::Layer& l : r.attribution.layers) {
      out.insert(out.end(), {l.compute_s, l.exposed_s, l.imbalance_s});
    }
  });
}

/// The ledger: an entry of a table for each drop of each step, in order.
inline void expect_drops(const Hdf5File& file, const std::vector<StepRecord>& steps) {
  struct Entry {
    Index step;
    model::DropRecord drop;
  };
  std::vector<Entry> entries;
  for (const StepRecord& r : steps) {
    for (const model::DropRecord& drop : r.drops) entries.push_back({r.step, drop});
  }
  ASSERT_EQ(file.exists("/drops"), !entries.empty());
  if (entries.empty()) return;
  expect_numbers(file, "/drops/step", entries, &Entry::step);
  expect_numbers(file, "/drops/layer", entries, [](const Entry& e) { return e.drop.layer; });
  expect_numbers(file, "/drops/token", entries, [](const Entry& e) { return e.drop.token; });
  expect_numbers(file, "/drops/choice", entries, [](const Entry& e) { return e.drop.choice; });
  expect_numbers(file, "/drops/expert", entries, [](const Entry& e) { return e.drop.expert; });
  expect_numbers(file, "/drops/reason", entries, [](const Entry& e) { return static_cast<Index>(e.drop.reason); });
  EXPECT_EQ(file.attribute<std::string>("/drops/reason", "reasons"), "over_capacity,refused_second,unchosen");
}

inline void expect_steps(const Hdf5File& file, const std::vector<StepRecord>& steps, const LogShape& shape = {}) {
  expect_numbers(file, "/steps/step", steps, &StepRecord::step);
  expect_numbers(file, "/steps/tokens", steps, &StepRecord::tokens);
  expect_numbers(file, "/steps/loss", steps, &StepRecord::loss);
  expect_numbers(file, "/steps/router_loss", steps, &StepRecord::router_loss);
  expect_numbers(file, "/steps/gradient_norm", steps, &StepRecord::gradient_norm);
  expect_numbers(file, "/steps/learning_rate", steps, &StepRecord::learning_rate);
  expect_numbers(file, "/steps/seconds", steps, &StepRecord::seconds);
  expect_numbers(file, "/steps/tokens_per_s", steps, &StepRecord::tokens_per_s);
  expect_numbers(file, "/steps/drop_rate", steps, &StepRecord::drop_rate);
  expect_numbers(file, "/steps/skipped", steps, [](const StepRecord& r) { return Index{r.skipped.empty() ? 0 : 1}; });
  expect_table<double>(file, "/steps/phases", steps, {num_phases, 3}, [](const auto& r, auto& out) {
    for (const PhaseSpread& p : r.phases) out.insert(out.end(), {p.min_s, p.mean_s, p.max_s});
  });
  expect_table<double>(file, "/steps/communication", steps, {3}, [](const auto& r, auto& out) {
    const PhaseSpread& p = r.communication;
    out.insert(out.end(), {p.min_s, p.mean_s, p.max_s});
  });
  expect_attribution(file, steps, shape);
  expect_layer_tables(file, steps, shape);
  expect_drops(file, steps);
}

inline void expect_evaluations(const Hdf5File& file, const std::vector<Evaluation>& evaluations,
                               const LogShape& shape = {}) {
  expect_numbers(file, "/evaluations/step", evaluations, &Evaluation::step);
  expect_numbers(file, "/evaluations/tokens", evaluations, &Evaluation::tokens);
  expect_numbers(file, "/evaluations/loss", evaluations, &Evaluation::loss);
  expect_numbers(file, "/evaluations/accuracy", evaluations, &Evaluation::accuracy);
  if (shape.layers > 1) {
    expect_table<double>(
        file, "/evaluations/layer_agreement", evaluations, {shape.layers - 1},
        [](const auto& e, auto& out) { out.insert(out.end(), e.layer_agreement.begin(), e.layer_agreement.end()); });
  } else {
    EXPECT_FALSE(file.exists("/evaluations/layer_agreement"));
  }
  EXPECT_EQ(file.attribute<std::string>("/evaluations/loss", "unit"), loss_unit(shape.classes > 0));
  EXPECT_EQ(file.exists("/evaluations/confusion"), shape.classes > 0);
  if (shape.classes > 0) {
    expect_numbers(file, "/evaluations/macro_f1", evaluations,
                   [](const Evaluation& e) { return e.confusion.macro_f1(); });
    expect_table<Index>(file, "/evaluations/confusion", evaluations, {shape.classes, shape.classes},
                        [](const Evaluation& e, auto& out) {
                          out.insert(out.end(), e.confusion.counts().begin(), e.confusion.counts().end());
                        });
  }
  if (!shape.domains || shape.layers == 0) {
    EXPECT_FALSE(file.exists("/evaluations/domain_information"));
    return;
  }
  expect_table<double>(file, "/evaluations/domain_information", evaluations, {shape.layers},
                       [](const auto& e, auto& out) {
                         out.insert(out.end(), e.domain_information.begin(), e.domain_information.end());
                       });
}

/// run.h5 must hold exactly the steps [first, last] and their evaluations.
inline void expect_run_file(const std::filesystem::path& path, Index first, Index last, const LogShape& shape = {}) {
  std::vector<StepRecord> steps;
  std::vector<Evaluation> evaluations;
  for (Index step = first; step <= last; ++step) {
    steps.push_back(some_step(step, shape));
    if (has_evaluation(step)) evaluations.push_back(some_evaluation(step, shape));
  }
  const Hdf5File file = Hdf5File::open(path);
  expect_steps(file, steps, shape);
  if (!evaluations.empty()) expect_evaluations(file, evaluations, shape);
}

class RunLogTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path folder() const { return folder_.path("run"); }
  [[nodiscard]] std::filesystem::path h5() const { return folder() / "run.h5"; }
  [[nodiscard]] std::filesystem::path jsonl() const { return folder() / "metrics.jsonl"; }

  /// Appends the steps (first, last] to the log; returns its notices.
  std::vector<std::string> log_steps(Index first, Index last, const LogShape& shape = {}) {
    RunLog log(folder(), first, {{"seed", "1"}}, {{"cpu", "some"}});
    for (Index step = first + 1; step <= last; ++step) append(log, step, shape);
    log.flush();
    return log.notices();
  }
  /// The names in the folder, sorted.
  [[nodiscard]] std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder())) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  TemporaryFolder folder_;
};

/// The InputError that `work` must throw: its message and its hint.
template <class Work>
std::pair<std::string, std::string> input_error(Work&& work) {
  try {
    work();
  } catch (const InputError& error) {
    return {error.what(), error.hint()};
  }
  ADD_FAILURE() << "no InputError";
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace conclave::train
