// SPDX-License-Identifier: BSD-3-Clause
// Results as a table of named columns, and the files that other programs read them from.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/options.hpp"

#include <string>
#include <variant>
#include <vector>

namespace conclave::apps {

/// Equal things of all rows. `unit` as in "s", "bytes"; "1" for numbers of no unit, empty for texts.
struct ResultColumn {
  std::string name;
  std::string unit;
  std::variant<std::vector<double>, std::vector<Index>, std::vector<std::string>> values;
};

/// Columns of equal length.
using ResultTable = std::vector<ResultColumn>;

/// The column that of(row) gives for each row: a number, a count or a text.
template <class Rows, class Of>
ResultColumn column(std::string name, std::string unit, const Rows& rows, const Of& of) {
  std::vector<std::decay_t<decltype(of(*rows.begin()))>> values;
  for (const auto& row : rows) values.push_back(of(row));
  return {std::move(name), std::move(unit), std::move(values)};
}

/// A line of names and one for each row, with commas (RFC 4180). Not a number: empty.
[[nodiscard]] std::string csv_text(const ResultTable& table);

/// The files that a table is to be written into; an empty name is none.
struct ResultFiles {
  std::string csv;
  std::string hdf5;
};

/// `what`: what a row of the table is.
void describe(ResultFiles& o, OptionTable& table, const std::string& what);
/// InputError, naming the option, where a file cannot be written. Collective.
void refuse_unwritable(const comm::Communicator& world, const ResultFiles& files);
/// One rank's alone. HDF5: a one-dimensional dataset for each column, with the attribute `unit`; a file that is there
/// is replaced as a whole. InputError if one cannot be written.
void write(const ResultFiles& files, const ResultTable& table);

}  // namespace conclave::apps
