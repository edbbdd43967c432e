// SPDX-License-Identifier: BSD-3-Clause
#include "apps/recorded_tables.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void Tally::add(double value) {
  if (!std::isfinite(value)) return;
  sum += value;
  ++count;
  least = std::min(least, value);
  most = std::max(most, value);
}

RecordedTables::RecordedTables(const train::Hdf5File& file, std::string group) : file_(file), group_(std::move(group)) {
  if (!file.exists(group_)) return;
  steps_ = file.read<Index>(group_ + "/step");
  if (!std::ranges::is_sorted(steps_)) refuse("steps that do not ascend");
  counts_.assign(steps_.size(), 1);
  if (file.exists(group_ + "/skipped")) {
    const std::vector<Index> skipped = file.read<Index>(group_ + "/skipped");
    if (skipped.size() != steps_.size()) refuse("a column 'skipped' of another length");
    std::ranges::transform(skipped, counts_.begin(), [](Index s) { return s == 0 ? 1 : 0; });
  }
  const Index buckets = std::min(most_buckets, std::ssize(steps_));
  for (Index b = 0; b < buckets; ++b) buckets_.push_back(even_share(std::ssize(steps_), buckets, b));
}

void RecordedTables::refuse(const std::string& what) const {
  throw InputError(fmt::format("'{}', {}: {}", file_.path().string(), group_, what),
                   "no run writes such a log: name the folder of another run");
}

std::vector<Index> RecordedTables::row_shape(const std::string& table) const {
  std::vector<Index> shape = file_.shape(path(table));
  if (shape.empty() || shape.front() != std::ssize(steps_)) {
    refuse(fmt::format("a column '{}' of another length", table));
  }
  shape.erase(shape.begin());
  return shape;
}

void RecordedTables::require_numbers(const std::string& table) const {
  if (!row_shape(table).empty()) refuse(fmt::format("a column '{}' of more than one number", table));
}

void RecordedTables::for_rows(const std::string& table, Index width, const Range& bucket,
                              const std::function<void(Index, std::span<const double>)>& visit) const {
  std::vector<double> values(static_cast<std::size_t>(bucket.size() * width));
  file_.read_range<double>(path(table), {bucket.begin * width, bucket.end * width}, values.data());
  for (Index row = bucket.begin; row < bucket.end; ++row) {
    if (!counts(row)) continue;
    visit(row, std::span(values).subspan(static_cast<std::size_t>((row - bucket.begin) * width),
                                         static_cast<std::size_t>(width)));
  }
}

void RecordedTables::for_values(const std::string& table, Index width, const Range& bucket,
                                const std::function<void(Index, double)>& tally) const {
  for_rows(table, width, bucket, [&](Index, std::span<const double> values) {
    for (Index c = 0; c < width; ++c) tally(c, values[static_cast<std::size_t>(c)]);
  });
}

std::vector<Thinned> RecordedTables::thinned(const std::string& table, Index width) const {
  std::vector<Thinned> columns(static_cast<std::size_t>(width));
  for (const Range& bucket : buckets_) {
    std::vector<Tally> tallies(columns.size());
    for_values(table, width, bucket, [&](Index c, double value) { tallies[static_cast<std::size_t>(c)].add(value); });
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Tally& t = tallies[c];
      columns[c].mean.push_back(t.count == 0 ? nan : t.sum / static_cast<double>(t.count));
      columns[c].least.push_back(t.count == 0 ? nan : t.least);
      columns[c].most.push_back(t.count == 0 ? nan : t.most);
    }
  }
  return columns;
}

ThinnedGroup RecordedTables::group(const std::vector<std::string>& names) const {
  ThinnedGroup result{.rows = std::ssize(steps_)};
  for (const Range& bucket : buckets_) {
    result.rows_a_bucket = std::max(result.rows_a_bucket, bucket.size());
    const auto first = steps_[static_cast<std::size_t>(bucket.begin)];
    const auto last = steps_[static_cast<std::size_t>(bucket.end - 1)];
    result.at.push_back(0.5 * (static_cast<double>(first) + static_cast<double>(last)));
  }
  for (const std::string& name : names) {
    if (!has(name)) continue;
    require_numbers(name);
    result.numbers[name] = thinned(name, 1).front();
  }
  return result;
}

}  // namespace conclave::apps
