// SPDX-License-Identifier: BSD-3-Clause
// The right to write in a run's folder, which one job has at a time.
#pragma once

#include "runtime/core/clock.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace conclave::train {

/// Kept in two ways. A lock of the system (flock) on FOLDER/run.lock ends with its process however that ends, and
/// refuses a second job. File systems of clusters may keep no locks between nodes, and a node that is thought dead may
/// still run its job: so the file also names its owner, whoever comes later writes its own name, and an owner that
/// finds another's name there has lost the folder and must no longer write. To be used by one rank alone.
class FolderLock {
 public:
  using Tell = std::function<void(const std::string&)>;

  /// Nothing is taken yet. `job` is the batch job, empty outside of one: a job that is started again takes over from an
  /// earlier start of itself. `tell` shows a line to the user.
  FolderLock(std::string job, Tell tell) : job_(std::move(job)), tell_(std::move(tell)) {}
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Takes `folder`, which is made if need be; false if it was taken already. Waits up to `patience_s` seconds for an
  /// owner that is about to end; if it does not, goes on where that is an earlier start of the same job, else
  /// InputError that names it. InputError too if the folder cannot be used.
  bool take(const std::filesystem::path& folder, double patience_s = 15.0);

  /// Whether the folder is still this job's; looks at the disk at most once in `every_s` seconds. A file that cannot be
  /// read is no other owner's.
  [[nodiscard]] bool is_held(double every_s = 1.0);
  /// InputError that names the new owner. To be called when is_held is false.
  [[noreturn]] void refuse_loss() const;

 private:
  [[nodiscard]] bool try_to_lock() const;
  void wait_for_owner(double patience_s);
  void write_own_name();

  std::string job_;
  Tell tell_;
  std::filesystem::path file_;  // empty: nothing is taken
  int id_ = -1;                 // of the open file
  std::string own_;             // what the file says while the folder is this job's
  Clock::time_point looked_at_{};
  bool is_lost_ = false;
};

/// Whether the process still runs that has, or had, the folder, by what run.lock says; nothing where that cannot be
/// told from here: there is no such file, or it names another node. Takes no lock.
[[nodiscard]] std::optional<bool> owner_runs(const std::filesystem::path& folder);

}  // namespace conclave::train
