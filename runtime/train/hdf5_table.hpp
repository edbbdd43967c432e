// SPDX-License-Identifier: BSD-3-Clause
// Datasets of HDF5 files that grow along their first dimension. To be read they need nothing but Hdf5File.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <map>
#include <variant>

namespace conclave::train {

/// Rows of one such dataset, in memory.
struct Table {
  std::string name;                                              // absolute path in the file
  std::vector<Index> row_shape;                                  // of at least one element; {}: a number a row
  std::map<std::string, std::string> attributes;                 // the dataset's, such as its unit
  std::variant<std::vector<double>, std::vector<Index>> values;  // [rows, row_shape...]
  bool is_optional = false;                                      // a log that was begun without it goes on without it

  [[nodiscard]] Index num_rows() const;
};

/// Adds the rows of `more` below those of `table`, which has the same name and row shape.
void add_rows(Table& table, const Table& more);

/// An HDF5 file opened to add rows to its tables or to cut them. A process that dies before close may leave it in
/// pieces: work on a copy where that matters. Every failure is an InputError.
class TableFile {
 public:
  /// The file must exist.
  explicit TableFile(std::filesystem::path path);

  /// Adds rows, with checksums, to the dataset of that name. Creates it, its attributes and the groups above it if
  /// there is none.
  void append(const Table& rows);
  /// Keeps the first `rows` rows of a dataset.
  void truncate(const std::string& dataset, Index rows);
  /// Unlinks a group or a dataset; one that is not there is fine.
  void remove(const std::string& object);
  void close();

  /// An upper bound of the disk space that appending `rows` takes.
  [[nodiscard]] static Index room_bytes(const Table& rows);

 private:
  [[nodiscard]] Hdf5Handle dataset(const std::string& name) const;
  void create(const Table& table);

  std::filesystem::path path_;
  Hdf5Turn turn_;
  Hdf5Handle file_;
};

/// Takes disk space behind the end of a closed HDF5 file, so that it can grow: HDF5 cannot get rid of a file that it
/// could not write to. What is left of it is given back by close. InputError if the disk is full; file systems that
/// cannot promise space are let be.
void take_room(const std::filesystem::path& path, Index bytes);

}  // namespace conclave::train
