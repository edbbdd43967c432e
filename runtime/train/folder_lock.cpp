// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/folder_lock.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/host.hpp"
#include "runtime/core/parse_number.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <fstream>
#include <random>
#include <system_error>
#include <thread>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

constexpr auto pause_between_tries = std::chrono::milliseconds(200);
constexpr std::size_t longest_content = 4096;

std::string system_reason() { return std::generic_category().message(errno); }

[[noreturn]] void refuse_folder(const fs::path& file) {
  throw InputError(fmt::format("cannot write '{}': {}", file.string(), system_reason()),
                   "check the folder's rights and free space, or name another one with --out");
}

/// Line 1 is for people, line 2 names the batch job, line 3 tells apart what starts in the same second.
std::string own_content(const std::string& job) {
  std::random_device device;
  return fmt::format("process {} on {}{}, since {:%Y-%m-%d %H:%M:%S} UTC\njob {}\n{:08x}{:08x}\n", ::getpid(),
                     host_name(), job.empty() ? "" : fmt::format(" (job {})", job), fmt::gmtime(std::time(nullptr)),
                     job, device(), device());
}

/// What stands in the file now; opened anew, so that a network file system asks its server. Empty if unreadable.
std::string content_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(longest_content, '\0');
  stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(stream.gcount()));
  return content;
}

std::string owner_in(const std::string& content) {
  const std::string owner = content.substr(0, content.find('\n'));
  return owner.empty() ? "another process" : owner;
}

std::string job_in(const std::string& content) {
  const std::string_view mark = "\njob ";
  const std::size_t begin = content.find(mark);
  if (begin == std::string::npos) return {};
  const std::size_t job = begin + mark.size();
  return content.substr(job, content.find('\n', job) - job);
}

}  // namespace

FolderLock::~FolderLock() {
  if (id_ >= 0) ::close(id_);
}

bool FolderLock::try_to_lock() const {
  if (::flock(id_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK || errno == EINTR) return false;
  tell_(fmt::format("the file system of '{}' keeps no locks ({}): start no second run in that folder",
                    file_.parent_path().string(), system_reason()));
  return true;
}

void FolderLock::wait_for_owner(double patience_s) {
  const Clock::time_point start = Clock::now();
  const std::string folder = file_.parent_path().string();
  bool is_told = false;
  while (!try_to_lock()) {
    const std::string content = content_of(file_);
    const bool is_successor = !job_.empty() && job_in(content) == job_;
    if (!is_told) {
      tell_(is_successor
                ? fmt::format("takes '{}' over from an earlier start of the same job: {}", folder, owner_in(content))
                : fmt::format("'{}' is in use by {}: waits for its end", folder, owner_in(content)));
    }
    is_told = true;
    // It ends when it finds this name. Until then it may save once more, so it is waited for, but not for ever: it may
    // stand still.
    if (is_successor && own_.empty()) write_own_name();
    if (seconds_since(start) >= patience_s) {
      if (is_successor) return;
      throw InputError(fmt::format("'{}' is in use by {}", folder, owner_in(content)),
                       "wait until that run has ended or end it, or name another folder with --out");
    }
    std::this_thread::sleep_for(pause_between_tries);
  }
}

void FolderLock::write_own_name() {
  own_ = own_content(job_);
  const bool is_written = ::ftruncate(id_, 0) == 0 &&
                          ::pwrite(id_, own_.data(), own_.size(), 0) == static_cast<ssize_t>(own_.size()) &&
                          (::fsync(id_) == 0 || errno == EINVAL);
  if (!is_written) refuse_folder(file_);
  looked_at_ = Clock::now();
}

bool FolderLock::take(const fs::path& folder, double patience_s) {
  if (!file_.empty()) return false;
  std::error_code failed;
  fs::create_directories(folder, failed);
  const fs::path file = folder / "run.lock";
  id_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (id_ < 0) refuse_folder(file);
  file_ = file;
  wait_for_owner(patience_s);
  if (own_.empty()) write_own_name();
  return true;
}

bool FolderLock::is_held(double every_s) {
  if (is_lost_ || seconds_since(looked_at_) < every_s) return !is_lost_;
  looked_at_ = Clock::now();
  const std::string content = content_of(file_);
  // Nothing there, or half of it: a disk in trouble, or an owner that is just writing its name. The next look tells.
  is_lost_ = !content.empty() && content.ends_with('\n') && content != own_;
  return !is_lost_;
}

void FolderLock::refuse_loss() const {
  throw InputError(fmt::format("'{}' has been taken over by {}; this run ends without another save",
                               file_.parent_path().string(), owner_in(content_of(file_))),
                   "nothing is to be done if that is a later start of this run");
}

std::optional<bool> owner_runs(const fs::path& folder) {
  const std::string owner = owner_in(content_of(folder / "run.lock"));
  constexpr std::string_view before_process = "process ";
  constexpr std::string_view before_host = " on ";
  const std::size_t middle = owner.find(before_host);
  if (!owner.starts_with(before_process) || middle == std::string::npos) return std::nullopt;
  const auto process =
      parse_number<pid_t>(std::string_view(owner).substr(before_process.size(), middle - before_process.size()));
  const std::string_view rest = std::string_view(owner).substr(middle + before_host.size());
  const bool is_here = rest.starts_with(host_name() + ", since ") || rest.starts_with(host_name() + " (job ");
  if (!process || *process <= 0 || !is_here) return std::nullopt;
  return ::kill(*process, 0) == 0 || errno != ESRCH;  // signal 0: only asks
}

}  // namespace conclave::train
