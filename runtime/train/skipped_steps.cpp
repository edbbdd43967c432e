// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/skipped_steps.hpp"

#include <algorithm>

namespace conclave::train {

constexpr double last_step = 9007199254740992.0;  // of which a table of doubles can tell: 2^53

SkippedSteps::SkippedSteps(std::span<const Index> told) {
  for (const Index step : told) skips_[step] = {fmt::format("step {}: skipped by skip_steps", step), false};
}

const std::string& SkippedSteps::reason(Index step) const {
  const auto skip = skips_.find(step);
  invariant(skip != skips_.end(), "step {} is not skipped", step);
  return skip->second.reason;
}

void SkippedSteps::add(Index step, const std::string& reason) { skips_.try_emplace(step, Skip{reason, true}); }

Index SkippedSteps::found_in_row(Index step) const {
  Index found = 0;
  for (auto skip = skips_.find(step); skip != skips_.end(); skip = skips_.find(--step)) {
    found += skip->second.is_found ? 1 : 0;
  }
  return found;
}

Index SkippedSteps::found_after(Index step) const {
  return std::count_if(skips_.upper_bound(step), skips_.end(), [](const auto& skip) { return skip.second.is_found; });
}

Index SkippedSteps::count(Index last, FunctionRef<bool(Index step)> condition) const {
  return std::count_if(skips_.begin(), skips_.upper_bound(last),
                       [&](const auto& skip) { return condition(skip.first); });
}

NumberTable SkippedSteps::table(Index done) const {
  NumberTable table{0, 2, {}};
  for (const auto& [step, skip] : skips_) {
    if (step > done && !skip.is_found) continue;  // the options tell
    table.values.insert(table.values.end(), {static_cast<double>(step), skip.is_found ? 1.0 : 0.0});
    ++table.rows;
  }
  return table;
}

void SkippedSteps::resume(const NumberTable& table, Index done) {
  if (table.cols != 2 || std::ssize(table.values) != 2 * table.rows) {
    throw InputError(fmt::format("the checkpoint's skipped steps are a table of [{}, {}]", table.rows, table.cols),
                     "it has two numbers a step: use another checkpoint");
  }
  std::map<Index, Skip> skips;
  for (std::size_t i = 0; i < table.values.size(); i += 2) {
    if (!(table.values[i] >= 1.0 && table.values[i] <= last_step)) {
      throw InputError(fmt::format("the checkpoint has skipped step {}", table.values[i]), "use another checkpoint");
    }
    const auto step = static_cast<Index>(table.values[i]);
    const bool is_found = table.values[i + 1] != 0.0;
    const auto told = skips_.find(step);
    const std::string before = fmt::format("step {}: skipped by this run before it was resumed", step);
    skips[step] = {told == skips_.end() ? before : told->second.reason, is_found};
  }
  for (const auto& [step, skip] : skips_) {
    if (step <= done && !skips.contains(step)) {
      throw InputError(
          fmt::format("skip_steps has {}, which this run has done and not skipped; it goes on after {}", step, done),
          "leave it out, or go on from a checkpoint before that step");
    }
    skips.try_emplace(step, skip);
  }
  skips_ = std::move(skips);
}

}  // namespace conclave::train
