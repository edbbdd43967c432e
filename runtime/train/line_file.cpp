// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/line_file.hpp"

#include "runtime/core/error.hpp"
#include "runtime/train/mapped_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <optional>
#include <string_view>
#include <system_error>

namespace conclave::train {
namespace {

[[noreturn]] void fail(const char* action, const std::filesystem::path& path, int error) {
  throw InputError(fmt::format("cannot {} '{}': {}", action, path.string(), std::generic_category().message(error)),
                   "check the folder's rights, free space and quota");
}

/// The step that a line tells of; none: it is no record.
std::optional<Index> step_of(std::string_view line) {
  const auto record = nlohmann::json::parse(line, nullptr, false);
  if (!record.is_object()) return std::nullopt;
  const auto step = record.find("step");
  if (step == record.end() || !step->is_number_integer()) return std::nullopt;
  return step->get<Index>();
}

}  // namespace

LineFile::LineFile(std::filesystem::path path)
    // Not through a link: in a folder that others may write to, it could lead to any file of this user.
    : path_(std::move(path)),
      file_(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) {
  if (file_ < 0) fail("open", path_, errno);
}

LineFile::~LineFile() { ::close(file_); }

void LineFile::cut(Index bytes) {
  if (::ftruncate(file_, bytes) != 0) fail("cut", path_, errno);
}

void LineFile::append(const std::string& lines) {
  struct stat status {};
  if (::fstat(file_, &status) != 0) fail("look at", path_, errno);
  if (status.st_nlink == 0) fail("write to", path_, ENOENT);  // what is written to a removed file is lost
  const Index before = ::lseek(file_, 0, SEEK_END);
  if (before < 0) fail("measure", path_, errno);
  for (std::size_t done = 0; done < lines.size();) {
    const auto written = ::write(file_, lines.data() + done, lines.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = errno;
      cut(before);
      fail("write to", path_, error);
    }
    done += static_cast<std::size_t>(written);
  }
}

bool is_step_record(const std::string& line, Index step) {
  const auto record = nlohmann::json::parse(line, nullptr, false);
  const auto is = [&](const char* name, const auto& value) {
    const auto found = record.find(name);  // of anything but an object: nothing
    return found != record.end() && *found == value;
  };
  return is("kind", "step") && is("step", step);
}

std::string last_line(const std::filesystem::path& path, Index length) {
  const MappedFile file(path.string());
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), static_cast<std::size_t>(length));
  if (text.empty()) return {};
  text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

Index length_up_to(const std::filesystem::path& path, Index last_step, std::vector<std::string>& notices) {
  const MappedFile file(path.string());
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  // From the end: what is to go is short, what stays may be long.
  std::size_t end = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
  Index unreadable = 0;
  while (end > 0) {
    const std::size_t line_break = end < 2 ? std::string_view::npos : text.rfind('\n', end - 2);
    const std::size_t begin = line_break == std::string_view::npos ? 0 : line_break + 1;
    const std::optional<Index> step = step_of(text.substr(begin, end - 1 - begin));
    if (step && *step <= last_step) break;
    if (!step) ++unreadable;
    end = begin;
  }
  if (unreadable > 0) {
    notices.push_back(
        fmt::format("'{}': {} lines at its end are not records and are removed", path.string(), unreadable));
  }
  return static_cast<Index>(end);
}

}  // namespace conclave::train
