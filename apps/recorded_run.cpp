// SPDX-License-Identifier: BSD-3-Clause
#include "apps/recorded_run.hpp"

#include "apps/bench_report.hpp"
#include "apps/recorded_tables.hpp"
#include "apps/training_needs.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/hdf5.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace conclave::apps {
namespace {

using train::Hdf5File;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::map<std::string, std::string> texts_of(const Hdf5File& file, const std::string& group) {
  std::map<std::string, std::string> result;
  if (!file.exists(group)) return result;
  for (const std::string& name : file.attributes(group)) result[name] = file.attribute<std::string>(group, name);
  return result;
}

double median_step_s(const RecordedTables& tables, const std::vector<double>& seconds) {
  std::vector<double> steady;
  for (Index row = steady_from(std::ssize(seconds)); row < std::ssize(seconds); ++row) {
    const double s = seconds[static_cast<std::size_t>(row)];
    if (tables.counts(row) && std::isfinite(s)) steady.push_back(s);
  }
  return steady.empty() ? 0.0 : Timings{steady}.median();
}

void read_totals(const RecordedTables& tables, RecordedRun& run) {
  if (tables.steps().empty()) return;
  run.first_step = tables.steps().front();
  run.last_step = tables.steps().back();
  run.loss_unit = tables.file().attribute<std::string>("/steps/loss", "unit");
  const std::vector<double> losses = tables.file().read<double>("/steps/loss");
  const std::vector<double> seconds = tables.file().read<double>("/steps/seconds");
  const std::vector<Index> tokens = tables.file().read<Index>("/steps/tokens");
  for (const std::size_t size : {losses.size(), seconds.size(), tokens.size()}) {
    if (size != tables.steps().size()) tables.refuse("columns of different lengths");
  }
  for (std::size_t row = 0; row < losses.size(); ++row) {
    run.seconds += std::isfinite(seconds[row]) ? seconds[row] : 0.0;
    if (!tables.counts(static_cast<Index>(row))) {
      ++run.skipped;
      continue;
    }
    run.tokens += std::clamp<Index>(tokens[row], 0, largest_size);
    run.tokens_a_step = tokens[row];
    run.last_loss = losses[row];
  }
  run.median_step_s = median_step_s(tables, seconds);
}

void read_phases(const RecordedTables& tables, RecordedRun& run) {
  if (!tables.has("phases")) return;
  std::string names = tables.file().attribute<std::string>("/steps/phases", "phases");
  for (std::size_t end = 0; !names.empty(); names.erase(0, end == std::string::npos ? end : end + 1)) {
    end = names.find(',');
    run.phases.push_back(names.substr(0, end));
  }
  constexpr Index columns = 3;  // min, mean, max
  const Index num_phases = std::ssize(run.phases);
  if (tables.row_shape("phases") != std::vector<Index>{num_phases, columns}) tables.refuse("phases of another shape");
  const std::vector<Thinned> all = tables.thinned("phases", num_phases * columns);
  for (Index p = 0; p < num_phases; ++p) run.phase_s.push_back(all[static_cast<std::size_t>(p * columns + 1)]);
}

// Of a table of one number a layer; none where it is not there.
std::vector<Thinned> by_layer(const RecordedTables& tables, const std::string& table, Index layers) {
  if (!tables.has(table)) return {};
  if (tables.row_shape(table) != std::vector<Index>{layers}) {
    tables.refuse(fmt::format("a column '{}' of another shape", table));
  }
  return tables.thinned(table, layers);
}

void read_layers(const RecordedTables& tables, RecordedRun& run) {
  if (!tables.has("load")) return;
  const std::vector<Index> shape = tables.row_shape("load");
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1) tables.refuse("loads of another shape");
  run.layers = shape[0];
  run.experts = shape[1];
  const auto buckets = static_cast<Index>(tables.buckets().size());
  run.load.assign(static_cast<std::size_t>(run.layers * run.experts * buckets), nan);
  for (Index b = 0; b < buckets; ++b) {
    std::vector<Tally> tallies(static_cast<std::size_t>(run.layers * run.experts));
    tables.for_values("load", std::ssize(tallies), tables.buckets()[static_cast<std::size_t>(b)],
                      [&](Index c, double value) { tallies[static_cast<std::size_t>(c)].add(value); });
    for (std::size_t c = 0; c < tallies.size(); ++c) {
      if (tallies[c].count == 0) continue;
      run.load[c * static_cast<std::size_t>(buckets) + static_cast<std::size_t>(b)] =
          tallies[c].sum / static_cast<double>(tallies[c].count);
    }
  }
  run.entropy = by_layer(tables, "entropy", run.layers);
}

void read_events(const Hdf5File& file, const std::string& folder, RecordedRun& run) {
  if (file.exists("/starts")) {
    const std::vector<Index> steps = file.read<Index>("/starts/step");
    const std::vector<Index> ranks = file.read<Index>("/starts/ranks");
    for (std::size_t i = 0; i < std::min(steps.size(), ranks.size()); ++i) run.starts.push_back({steps[i], ranks[i]});
  }
  std::set<Index> saves;
  if (file.exists("/saves")) {
    for (const Index step : file.read<Index>("/saves/step")) saves.insert(step);
  }
  for (const train::StoredStep& stored : train::stored_steps(folder)) saves.insert(stored.step);
  run.saves = {saves.begin(), saves.end()};
}

}  // namespace

Index RecordedRun::ranks() const {
  const auto found = record.find("ranks");
  return found == record.end() ? 0 : parse_number<Index>(found->second).value_or(0);
}

double RecordedRun::relative_load(Index layer, Index expert, Index bucket) const {
  const Index buckets = std::ssize(steps.at);
  const auto claims = [&](Index e) { return load[static_cast<std::size_t>((layer * experts + e) * buckets + bucket)]; };
  double sum = 0.0;
  for (Index e = 0; e < experts; ++e) sum += claims(e);
  return sum > 0.0 ? claims(expert) * static_cast<double>(experts) / sum : nan;
}

RecordedRun recorded_run(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder) / "run.h5";
  if (!std::filesystem::exists(path)) {
    throw InputError(fmt::format("'{}' has no log of a run: no run.h5", folder),
                     "name a folder that conclave train wrote into");
  }
  const Hdf5File file = Hdf5File::open(path);
  if (!file.exists("/config")) {
    throw InputError(fmt::format("'{}' is no log of a run: it has no group /config", path.string()),
                     "name a folder that conclave train wrote into");
  }
  RecordedRun run{.name = folder, .config = texts_of(file, "/config"), .record = texts_of(file, "/record")};
  const RecordedTables steps(file, "/steps");
  read_totals(steps, run);
  run.steps = steps.group({"loss", "learning_rate", "gradient_norm", "tokens_per_s", "drop_rate", "seconds"});
  read_phases(steps, run);
  read_layers(steps, run);
  const RecordedTables evaluations(file, "/evaluations");
  run.evaluations = evaluations.group({"loss", "accuracy", "macro_f1"});
  run.domain_information = by_layer(evaluations, "domain_information", run.layers);
  if (const auto loss = run.evaluations.numbers.find("loss"); loss != run.evaluations.numbers.end()) {
    for (const double least : loss->second.least) {
      if (std::isfinite(least)) run.best_evaluation = std::min(least, run.best_evaluation.value_or(least));
    }
  }
  run.tests = RecordedTables(file, "/tests").group({"loss", "accuracy", "macro_f1"});
  read_events(file, folder, run);
  run.waiting = recorded_waiting(steps, run.layers, run.experts);
  run.traffic = recorded_traffic(file);
  return run;
}

}  // namespace conclave::apps
