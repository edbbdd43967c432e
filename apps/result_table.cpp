// SPDX-License-Identifier: BSD-3-Clause
#include "apps/result_table.hpp"

#include "apps/bench.hpp"
#include "runtime/train/disk_file.hpp"
#include "runtime/train/hdf5.hpp"

#include <fmt/ranges.h>

#include <cmath>

namespace conclave::apps {
namespace {

std::size_t length_of(const ResultColumn& column) {
  return std::visit([](const auto& values) { return values.size(); }, column.values);
}

std::string field(double value) { return std::isnan(value) ? std::string{} : fmt::format("{}", value); }
std::string field(Index value) { return fmt::format("{}", value); }
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

void write_hdf5(const std::filesystem::path& path, const ResultTable& table) {
  train::Hdf5File file = train::Hdf5File::create(path);
  for (const ResultColumn& column : table) {
    const std::string name = "/" + column.name;
    std::visit(
        [&]<class T>(const std::vector<T>& values) {
          file.write<T>(name, {std::ssize(values)}, std::span<const T>(values));
        },
        column.values);
    if (!column.unit.empty()) file.write_attribute(name, "unit", column.unit);
  }
  file.close();
}

}  // namespace

std::string csv_text(const ResultTable& table) {
  std::vector<std::string> fields;
  for (const ResultColumn& column : table) fields.push_back(field(column.name));
  std::string text = fmt::format("{}\n", fmt::join(fields, ","));
  const std::size_t rows = table.empty() ? 0 : length_of(table.front());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < table.size(); ++c) {
      fields[c] = std::visit([&](const auto& values) { return field(values.at(row)); }, table[c].values);
    }
    text += fmt::format("{}\n", fmt::join(fields, ","));
  }
  return text;
}

void describe(ResultFiles& o, OptionTable& table, const std::string& what) {
  table.add("csv", o.csv, fmt::format("a file to write {} into, with commas", what));
  table.add("hdf5", o.hdf5, fmt::format("a file to write {} into, as HDF5: a dataset for each column", what));
}

void refuse_unwritable(const comm::Communicator& world, const ResultFiles& files) {
  refuse_unwritable(world, "csv", files.csv);
  refuse_unwritable(world, "hdf5", files.hdf5);
}

void write(const ResultFiles& files, const ResultTable& table) {
  for (const ResultColumn& column : table) {
    invariant(length_of(column) == length_of(table.front()), "{} and {} rows in one table", length_of(column),
              length_of(table.front()));
  }
  if (!files.csv.empty()) write_file(files.csv, csv_text(table));
  if (files.hdf5.empty()) return;
  train::replace_file(files.hdf5, [&](const std::filesystem::path& partial) { write_hdf5(partial, table); });
}

}  // namespace conclave::apps
