// SPDX-License-Identifier: BSD-3-Clause
#include "apps/measured_training.hpp"

#include "apps/option_text.hpp"
#include "apps/step_timing.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/sim/fit.hpp"
#include "runtime/train/hdf5.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::apps {
namespace {

using train::Hdf5File;

// The tables of a run's log that are read here, a row a step.
class StepTables {
 public:
  explicit StepTables(const Hdf5File& file) : file_(file), steps_(file.read<Index>("/steps/step")) {
    const std::vector<Index> skipped = column<Index>("skipped", 1);
    const std::vector<Index> starts = steps_of("starts");
    const std::vector<Index> decisions = steps_of("exchanges");
    const bool is_auto = !decisions.empty() && file.has_attribute("/config", "exchange") &&
                         file.attribute<std::string>("/config", "exchange") == "auto";
    const auto warms_up = [&](std::size_t row) {
      const auto next = std::ranges::lower_bound(starts, steps_[row]);
      if (next == starts.begin()) return false;
      const Index done = *std::prev(next);
      const auto later = next == starts.end() ? decisions.end() : std::ranges::upper_bound(decisions, *next);
      const Index decided = later == decisions.begin() ? 0 : *std::prev(later);
      // A process that ended before it decided has done nothing but trials.
      const bool tries = decided > done ? steps_[row] <= decided : is_auto;
      return tries || steps_[row] - done <= warm_up_steps;
    };
    for (Index i = steady_from(std::ssize(steps_)); i < std::ssize(steps_); ++i) {
      const auto row = static_cast<std::size_t>(i);
      if (skipped[row] == 0) rows_.push_back(row);
    }
    if (!std::ranges::all_of(rows_, warms_up)) std::erase_if(rows_, warms_up);
    if (rows_.empty()) refuse("no step that was not skipped");
  }

  /// The rows that count.
  [[nodiscard]] const std::vector<std::size_t>& rows() const { return rows_; }
  [[nodiscard]] Index step(std::size_t row) const { return steps_[row]; }

  /// All rows, of so many values each.
  template <class T>
  [[nodiscard]] std::vector<T> column(const std::string& name, Index width) const {
    std::vector<T> values = file_.read<T>("/steps/" + name);
    if (std::ssize(values) != std::ssize(steps_) * width) {
      refuse(fmt::format("{} values in /steps/{} of {} steps", values.size(), name, steps_.size()));
    }
    return values;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(fmt::format("'{}' has {}", file_.path().string(), what), "name the folder of another run");
  }

  [[nodiscard]] const Hdf5File& file() const { return file_; }

 private:
  // Of a group that logs of earlier versions lack.
  [[nodiscard]] std::vector<Index> steps_of(const char* group) const {
    const std::string name = fmt::format("/{}/step", group);
    return file_.exists(name) ? file_.read<Index>(name) : std::vector<Index>{};
  }

  const Hdf5File& file_;
  std::vector<Index> steps_;
  std::vector<std::size_t> rows_;
};

double median_of(std::vector<double> values) { return sim::quantile(std::move(values), 0.5); }

void read_seconds(const StepTables& tables, MeasuredTraining& m) {
  const std::vector<double> all = tables.column<double>("seconds", 1);
  std::vector<double> seconds;
  for (const std::size_t row : tables.rows()) seconds.push_back(all[row]);
  m.run.steps = std::ssize(seconds);
  m.run.step_s = median_of(seconds);
  if (!(m.run.step_s > 0.0)) tables.refuse(fmt::format("a median step of {} s", m.run.step_s));
  std::vector<double> off;
  for (const double s : seconds) off.push_back(std::abs(s - m.run.step_s));
  constexpr double sigma_of_median = 1.4826;    // of a normal distribution, by the median of what lies off
  constexpr double of_median_over_mean = 1.25;  // how much less a median is known than a mean
  m.deviation_s = of_median_over_mean * sigma_of_median * median_of(std::move(off)) /
                  std::sqrt(static_cast<double>(seconds.size()));
}

void read_phases(const StepTables& tables, MeasuredTraining& m) {
  constexpr Index columns = 3;  // min, mean, max
  const std::string names = tables.file().attribute<std::string>("/steps/phases", "phases");
  std::vector<std::string_view> known;
  for (const auto& entry : enum_names(Phase{})) known.push_back(entry.name);
  if (names != fmt::format("{}", fmt::join(known, ","))) tables.refuse(fmt::format("the phases '{}'", names));
  const std::vector<double> all = tables.column<double>("phases", columns * static_cast<Index>(num_phases));
  for (std::size_t p = 0; p < num_phases; ++p) {
    std::vector<double> seconds;
    for (const std::size_t row : tables.rows()) seconds.push_back(all[(row * num_phases + p) * columns + 1]);
    if (std::ranges::any_of(seconds, [](double s) { return !(std::isfinite(s) && s >= 0.0); })) {
      tables.refuse(fmt::format("a time of phase {} that is none", known[p]));
    }
    m.phases_s[p] = median_of(std::move(seconds));
  }
}

// Claims but for `dropped` of them, which the fullest lost: cut down to a level, or one above it.
std::vector<Index> kept_of(std::span<const Index> claims, Index dropped) {
  std::vector<std::size_t> fullest(claims.size());
  std::iota(fullest.begin(), fullest.end(), std::size_t{0});
  std::ranges::stable_sort(fullest, std::greater{}, [&](std::size_t e) { return claims[e]; });
  // So many are cut that cutting them down to the next one is enough.
  std::size_t cut = 0;
  Index of_cut = 0;
  while (cut < fullest.size() && of_cut - static_cast<Index>(cut) * claims[fullest[cut]] < dropped) {
    of_cut += claims[fullest[cut++]];
  }
  std::vector<Index> kept(claims.begin(), claims.end());
  for (std::size_t i = 0; i < cut; ++i) {
    kept[fullest[i]] = even_share(of_cut - dropped, static_cast<Index>(cut), static_cast<Index>(i)).size();
  }
  return kept;
}

// Rows with `added` more, which the emptiest got: filled up to a level, or one below it.
std::vector<Index> filled(std::vector<Index> rows, Index added) {
  std::vector<std::size_t> emptiest(rows.size());
  std::iota(emptiest.begin(), emptiest.end(), std::size_t{0});
  std::ranges::stable_sort(emptiest, {}, [&](std::size_t e) { return rows[e]; });
  std::size_t raised = 0;
  Index of_raised = 0;
  while (raised < emptiest.size() && static_cast<Index>(raised) * rows[emptiest[raised]] - of_raised < added) {
    of_raised += rows[emptiest[raised++]];
  }
  for (std::size_t i = 0; i < raised; ++i) {
    rows[emptiest[i]] = even_share(of_raised + added, static_cast<Index>(raised), static_cast<Index>(i)).size();
  }
  return rows;
}

void read_rows(const StepTables& tables, MeasuredTraining& m) {
  if (!tables.file().exists("/steps/load")) return;
  const std::vector<Index> shape = tables.file().shape("/steps/load");
  if (shape.size() != 3 || shape[1] < 1 || shape[2] < 1) tables.refuse("a table /steps/load of another shape");
  m.layers = shape[1];
  m.experts = shape[2];
  const std::vector<Index> load = tables.column<Index>("load", m.layers * m.experts);
  const std::vector<Index> over_capacity = tables.column<Index>("over_capacity", m.layers);
  const std::vector<Index> rerouted = tables.column<Index>("rerouted", m.layers);
  const std::vector<Index> refused = tables.column<Index>("refused_second", m.layers);
  if (std::ranges::any_of(load, [](Index claims) { return claims < 0 || claims > largest_size; })) {
    tables.refuse("claims that no step has");
  }
  const std::size_t count = std::min(tables.rows().size(), most_measured_rows);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t row = tables.rows()[i * tables.rows().size() / count];
    gating::RoutingStep step{.step = tables.step(row)};
    for (Index layer = 0; layer < m.layers; ++layer) {
      const std::size_t of_layer = row * static_cast<std::size_t>(m.layers) + static_cast<std::size_t>(layer);
      const auto claims =
          std::span(load).subspan(of_layer * static_cast<std::size_t>(m.experts), static_cast<std::size_t>(m.experts));
      const Index moved = rerouted[of_layer];
      const Index lost = over_capacity[of_layer] + refused[of_layer] + moved;
      if (moved < 0 || lost < moved || lost > std::accumulate(claims.begin(), claims.end(), Index{0})) {
        tables.refuse(fmt::format("{} claims dropped or rerouted of fewer", lost));
      }
      step.claimed.insert(step.claimed.end(), claims.begin(), claims.end());
      const std::vector<Index> kept = filled(kept_of(claims, lost), moved);
      step.kept.insert(step.kept.end(), kept.begin(), kept.end());
    }
    m.rows.push_back(std::move(step));
  }
}

}  // namespace

gating::RoutingTrace MeasuredTraining::trace(Index groups, Index group_tokens) const {
  return {{.layers = layers, .experts = experts, .groups = groups, .group_tokens = group_tokens, .classes = 1}, rows};
}

MeasuredTraining measured_training(const std::filesystem::path& folder) {
  MeasuredTraining m;
  m.folder = folder.string();
  m.run = measured_run(folder);
  const Hdf5File file = Hdf5File::open(folder / "run.h5");
  const StepTables tables(file);
  const auto recorded = [&](const char* name) {
    return file.has_attribute("/record", name) ? file.attribute<std::string>("/record", name) : std::string();
  };
  m.nodes = parse_number<Index>(recorded("nodes")).value_or(0);
  m.cpu = recorded("cpu");
  if (m.nodes < 1 || m.nodes > m.run.ranks) tables.refuse(fmt::format("nodes = '{}'", recorded("nodes")));
  read_seconds(tables, m);
  read_phases(tables, m);
  read_rows(tables, m);
  return m;
}

}  // namespace conclave::apps
