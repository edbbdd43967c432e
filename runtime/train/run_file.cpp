// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/run_file.hpp"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

constexpr std::array groups{"/steps",  "/evaluations", "/tests",   "/drops",
                            "/starts", "/saves",       "/traffic", "/exchanges"};
constexpr Index structure_bytes = Index{64} * 1024;  // of a file, its groups and their lists of names

void require(const std::error_code& error, const char* action, const fs::path& path) {
  if (!error) return;
  throw InputError(fmt::format("cannot {} '{}': {}", action, path.string(), error.message()),
                   "check the folder's rights, free space and quota");
}

/// Throws unless the file may be read now. Without this, a file that another program holds would be taken for damaged.
void require_readable(const fs::path& path) {
  const int id = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (id < 0) require({errno, std::generic_category()}, "open", path);
  const Hdf5Handle closer(id, [](std::int64_t open) { return ::close(static_cast<int>(open)); });
  if (::flock(id, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw InputError(fmt::format("'{}' is open for writing in another program", path.string()), "close it there");
}

/// Reads all of a table, for its checksums.
void verify(const Hdf5File& file, const std::string& table) {
  constexpr Index block = Index{1} << 20;
  const Index size = num_elements(file.shape(table));
  std::vector<double> values(static_cast<std::size_t>(std::min(block, size)));
  for (Index at = 0; at < size; at += block) {
    file.read_range<double>(table, {at, std::min(at + block, size)}, values.data());
  }
}

/// "4 MoE layers of 8 experts"
std::string layers_text(const std::vector<Index>& row_shape) {
  if (row_shape.size() != 2) return "no MoE layers";
  return fmt::format("{} MoE {} of {} experts", row_shape[0], row_shape[0] == 1 ? "layer" : "layers", row_shape[1]);
}

Index text_bytes(const std::map<std::string, std::string>& entries) {
  Index bytes = 0;
  for (const auto& [name, value] : entries) bytes += std::ssize(name) + std::ssize(value) + 256;
  return bytes;
}

}  // namespace

RunFile::RunFile(fs::path path, Index first_step, std::vector<std::string>& notices)
    : path_(std::move(path)),
      next_(path_.string() + ".next"),
      last_(path_.string() + ".last"),
      first_step_(first_step) {
  std::error_code error;
  const bool is_there = fs::exists(path_, error);
  require(error, "look for", path_);
  if (is_there) {
    require_readable(path_);
    try {
      inspect();
      is_found_ = true;
    } catch (const std::exception& reason) {
      set_damaged_aside(reason.what(), notices);
    }
  }
  const Index missing = first_step_ - kept_["/steps"];
  if (missing <= 0) return;
  notices.push_back(fmt::format("'{}' has no records of {} of the {} steps before this process", path_.string(),
                                missing, first_step_));
}

RunFile::~RunFile() {
  std::error_code ignored;
  if (lags_) fs::remove(next_, ignored);
}

void RunFile::inspect() {
  const Hdf5File file = Hdf5File::open(path_);
  if (!file.exists("/config")) throw InputError("it has no group /config");
  const std::vector<std::string> tables = file.datasets("/");
  for (const char* group : groups) {
    if (!file.exists(group)) continue;
    const std::string step = fmt::format("{}/step", group);
    const auto steps = file.read<Index>(step);
    if (!std::is_sorted(steps.begin(), steps.end())) throw InputError(fmt::format("{} does not ascend", step));
    for (const std::string& name : tables) {
      if (!name.starts_with(fmt::format("{}/", group))) continue;
      const Hdf5Type type = file.type(name);
      if (type != Hdf5Type::float64 && type != Hdf5Type::int64) {
        throw InputError(fmt::format("{} holds {}", name, name_of(type)));
      }
      const std::vector<Index> shape = file.shape(name);
      if (shape.empty() || shape[0] != std::ssize(steps)) {
        throw InputError(fmt::format("{} has not the {} rows of {}", name, steps.size(), step));
      }
      verify(file, name);
      row_shapes_[name] = {shape.begin() + 1, shape.end()};
    }
    kept_[group] = std::upper_bound(steps.begin(), steps.end(), first_step_) - steps.begin();
  }
}

void RunFile::set_damaged_aside(const std::string& reason, std::vector<std::string>& notices) {
  row_shapes_.clear();
  kept_.clear();
  fs::path aside = path_.string() + ".damaged";
  for (int copy = 2; fs::exists(aside); ++copy) aside = fmt::format("{}.damaged.{}", path_.string(), copy);
  std::error_code error;
  fs::rename(path_, aside, error);
  require(error, "rename the damaged file", path_);
  notices.push_back(
      fmt::format("'{}' is damaged ({}): it is now '{}', and a new one is begun. metrics.jsonl has the "
                  "earlier records too",
                  path_.string(), reason, aside.string()));
}

// In its group.
bool RunFile::has_tables_beside(const std::string& name) const {
  const std::string group = name.substr(0, name.rfind('/') + 1);
  return std::ranges::any_of(row_shapes_, [&](const auto& table) { return table.first.starts_with(group); });
}

void RunFile::require_same_tables(const std::vector<Table>& rows) const {
  const std::string& first = rows.front().name;
  const std::string group = first.substr(0, first.rfind('/') + 1);
  std::map<std::string, std::vector<Index>> now, before;  // name -> shape of a row
  for (const Table& table : rows) {
    if (!table.is_optional || row_shapes_.contains(table.name) || !has_tables_beside(table.name)) {
      now[table.name] = table.row_shape;
    }
  }
  for (const auto& [name, shape] : row_shapes_) {
    if (name.starts_with(group)) before[name] = shape;
  }
  if (before.empty() || before == now) return;
  const std::string hint = "name another folder with --out, or move the old log away";
  const auto load = [](const auto& shapes) {
    const auto found = shapes.find("/steps/load");
    return found == shapes.end() ? std::vector<Index>{} : found->second;
  };
  if (load(before) != load(now)) {
    throw OtherLog(fmt::format("'{}' is the log of a run with {}; this run has {}", path_.string(),
                               layers_text(load(before)), layers_text(load(now))),
                   hint);
  }
  const auto [old_table, new_table] = std::mismatch(before.begin(), before.end(), now.begin(), now.end());
  const auto text = [](auto table, auto end) {
    return table == end ? "no more tables"
                        : fmt::format("{} with rows of [{}]", table->first, fmt::join(table->second, ", "));
  };
  throw OtherLog(fmt::format("'{}' is the log of another run or version: it has {}, this run {}", path_.string(),
                             text(old_table, before.end()), text(new_table, now.end())),
                 hint);
}

void RunFile::copy_to_next() {
  lags_ = false;
  behind_.clear();
  std::error_code error;
  fs::remove(next_, error);  // never over an existing file: a reader may still have it open
  fs::copy_file(path_, next_, error);
  require(error, "copy the run's log to", next_);
}

void RunFile::begin(const std::map<std::string, std::string>& config,
                    const std::map<std::string, std::string>& record) {
  std::error_code ignored;  // a process that was killed may have left these
  fs::remove(next_, ignored);
  fs::remove(last_, ignored);
  const Index room = structure_bytes + text_bytes(config) + text_bytes(record);
  try {
    if (is_found_ && first_step_ > 0) {
      copy_to_next();
      take_room(next_, room);
      TableFile file(next_);
      for (const auto& [name, shape] : row_shapes_) file.truncate(name, kept_[name.substr(0, name.rfind('/'))]);
      for (const char* group : {"/config", "/record"}) file.remove(group);
      file.close();
    } else {
      row_shapes_.clear();
      Hdf5File::create(next_).close();
    }
    take_room(next_, room);
    Hdf5File file = Hdf5File::open_writable(next_);
    for (const auto& [group, entries] : {std::pair("/config", config), std::pair("/record", record)}) {
      file.create_group(group);
      for (const auto& [name, value] : entries) file.write_attribute(group, name, value);
    }
    file.close();
  } catch (...) {
    fs::remove(next_, ignored);
    throw;
  }
  publish();
  // The file that publish has put there is the one from before, if any: not this one without its last rows.
  fs::remove(next_, ignored);
  lags_ = false;
}

void RunFile::append(const std::vector<Table>& rows) {
  const bool is_begun = !rows.empty() && has_tables_beside(rows.front().name);
  for (const Table& table : rows) {
    if (table.is_optional && is_begun && !row_shapes_.contains(table.name)) continue;
    row_shapes_.try_emplace(table.name, table.row_shape);
    const auto [entry, is_new] = pending_.try_emplace(table.name, table);
    if (!is_new) add_rows(entry->second, table);
  }
}

void RunFile::add_to_next() {
  Index room = structure_bytes + text_bytes(notes_);
  for (const auto* tables : {&behind_, &pending_}) {
    for (const auto& [name, rows] : *tables) room += TableFile::room_bytes(rows);
  }
  take_room(next_, room);
  TableFile file(next_);
  for (const auto* tables : {&behind_, &pending_}) {
    for (const auto& [name, rows] : *tables) file.append(rows);
  }
  file.close();
  if (!notes_.empty()) add_notes_to_next();
}

void RunFile::add_notes_to_next() const {
  Hdf5File file = Hdf5File::open_writable(next_);
  for (const auto& [name, value] : notes_) {
    if (!file.has_attribute("/record", name)) file.write_attribute("/record", name, value);
  }
  file.close();
}

void RunFile::flush() {
  if (pending_.empty()) return;
  const bool had_one = lags_;
  try {
    if (!had_one) copy_to_next();
    try {
      add_to_next();
    } catch (const InputError&) {
      // A reader who opened it while it was run.h5 may hold it still.
      if (!had_one) throw;
      copy_to_next();
      add_to_next();
    }
    publish();
  } catch (...) {
    std::error_code ignored;
    fs::remove(next_, ignored);
    lags_ = false;
    throw;
  }
  behind_ = std::move(pending_);
  pending_.clear();
}

void RunFile::publish() {
  // The name is never without a file. A second name keeps the old file; where there are none, the next round copies.
  lags_ = false;
  std::error_code error;
  fs::remove(last_, error);
  fs::create_hard_link(path_, last_, error);
  const bool is_kept = !error;
  fs::rename(next_, path_, error);
  require(error, "put the run's log in place as", path_);
  if (!is_kept) return;
  fs::rename(last_, next_, error);
  lags_ = !error;
}

}  // namespace conclave::train
