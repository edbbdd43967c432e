// SPDX-License-Identifier: BSD-3-Clause
// run.h5 (see run_log.hpp): a file that is whole at every instant, for readers and for a process that is killed.
#pragma once

#include "runtime/train/hdf5_table.hpp"

namespace conclave::train {

/// The log in the folder is that of another run or version: no later attempt would end otherwise.
class OtherLog : public InputError {
 public:
  using InputError::InputError;
};

/// Rows are added to a second file, `run.h5.next`, which then takes the name run.h5; the file that had the name until
/// then lags by the rows of this round, is given them in the next one, and so on. So every row is written twice, and
/// nothing is copied but what is found at the start. (HDF5's own answer, SWMR, asks the same of every reader, and marks
/// a killed writer's file as in use for good.) A reader who keeps the file open goes on seeing it as it was: its lock
/// is respected, and the round begins with a copy.
class RunFile {
 public:
  /// Looks at the file, if there is one. One that is damaged is renamed to run.h5.damaged; beside that nothing changes
  /// on the disk. Notices say what a person should know. InputError if the file is there but may not be read.
  RunFile(std::filesystem::path path, Index first_step, std::vector<std::string>& notices);
  RunFile(const RunFile&) = delete;
  RunFile& operator=(const RunFile&) = delete;
  /// Leaves run.h5 alone in its folder. Rows that were not flushed are lost.
  ~RunFile();

  /// OtherLog if the group of these has tables already, but other ones; optional ones may be missing there.
  void require_same_tables(const std::vector<Table>& rows) const;
  /// Cuts the file to the records up to `first_step` (0: to none), or makes a new one, and writes the attributes.
  void begin(const std::map<std::string, std::string>& config, const std::map<std::string, std::string>& record);
  /// Adds an attribute to /record with the next rows that are flushed, if it has none of that name.
  void note(const std::string& name, const std::string& value) { notes_[name] = value; }
  /// Keeps a row for the next flush, without what is optional where the file has rows but no such table.
  void append(const std::vector<Table>& rows);
  [[nodiscard]] bool has_pending() const { return !pending_.empty(); }
  /// Adds the rows to the file. InputError if that fails; then they are kept.
  void flush();

 private:
  void inspect();
  [[nodiscard]] bool has_tables_beside(const std::string& name) const;
  void set_damaged_aside(const std::string& reason, std::vector<std::string>& notices);
  void copy_to_next();
  void add_to_next();
  void add_notes_to_next() const;
  void publish();

  std::filesystem::path path_, next_, last_;
  Index first_step_;
  bool is_found_ = false;                                 // there was a usable file
  std::map<std::string, std::vector<Index>> row_shapes_;  // of its tables and of those written since
  std::map<std::string, Index> kept_;                     // group -> rows found up to first_step
  bool lags_ = false;                                     // next_ is there, and lacks the rows behind_
  std::map<std::string, Table> behind_, pending_;         // by name
  std::map<std::string, std::string> notes_;              // attributes of /record that came later
};

}  // namespace conclave::train
