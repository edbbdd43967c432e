// SPDX-License-Identifier: BSD-3-Clause
// Tables of a run's log, thinned to what a picture can show.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace conclave::apps {

/// A number of a run over its steps: of each bucket of consecutive steps the mean, the least and the largest. Steps
/// that were skipped, and values that are not finite, do not count; a bucket without any has NaN.
struct Thinned {
  std::vector<double> mean{};
  std::vector<double> least{};
  std::vector<double> most{};
};

/// Buckets of consecutive rows of a group of tables, and the tables over them.
struct ThinnedGroup {
  Index rows = 0;
  Index rows_a_bucket = 0;                   // of the largest one
  std::vector<double> at{};                  // the step that a bucket is drawn at: the middle of its steps
  std::map<std::string, Thinned> numbers{};  // by name, those of one number a row
};

inline constexpr Index most_buckets = 200;

/// The values of a bucket that count.
struct Tally {
  double sum = 0.0;
  Index count = 0;
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();

  void add(double value);
};

/// The tables of a group, row i of all of which belongs together. A file may hold anything: what no run writes is an
/// InputError.
class RecordedTables {
 public:
  /// `file` must outlive it. A group that is not there has no rows.
  RecordedTables(const train::Hdf5File& file, std::string group);

  /// Throws that.
  [[noreturn]] void refuse(const std::string& what) const;

  [[nodiscard]] const std::vector<Index>& steps() const { return steps_; }
  /// Whether the row's step was not skipped.
  [[nodiscard]] bool counts(Index row) const { return counts_[static_cast<std::size_t>(row)] != 0; }
  [[nodiscard]] std::string path(const std::string& table) const { return fmt::format("{}/{}", group_, table); }
  [[nodiscard]] bool has(const std::string& table) const { return !steps_.empty() && file_.exists(path(table)); }
  [[nodiscard]] const std::vector<Range>& buckets() const { return buckets_; }
  [[nodiscard]] const train::Hdf5File& file() const { return file_; }

  /// The shape of a row.
  [[nodiscard]] std::vector<Index> row_shape(const std::string& table) const;
  /// A table of one number a row.
  template <class T>
  [[nodiscard]] std::vector<T> column(const std::string& table) const {
    require_numbers(table);
    return file_.read<T>(path(table));
  }
  /// Calls visit(row, its `width` values) for the rows of one bucket that count.
  void for_rows(const std::string& table, Index width, const Range& bucket,
                const std::function<void(Index, std::span<const double>)>& visit) const;
  /// Calls tally(column, value) for them.
  void for_values(const std::string& table, Index width, const Range& bucket,
                  const std::function<void(Index, double)>& tally) const;
  /// Of each column of a table of `width` numbers a row.
  [[nodiscard]] std::vector<Thinned> thinned(const std::string& table, Index width) const;
  /// Of those of the tables that are there, which are of one number a row.
  [[nodiscard]] ThinnedGroup group(const std::vector<std::string>& names) const;

 private:
  void require_numbers(const std::string& table) const;

  const train::Hdf5File& file_;
  std::string group_;
  std::vector<Index> steps_{};
  std::vector<Index> counts_{};  // 1: the step was not skipped
  std::vector<Range> buckets_{};
};

}  // namespace conclave::apps
