// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint_folder.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view name_prefix = "step-";
constexpr std::string_view name_suffix = ".h5";
constexpr std::string_view partial_suffix = ".h5.partial";
constexpr const char* latest_name = "latest";
constexpr const char* next_latest_name = ".latest.partial";

bool is_leftover(const std::string& name) {
  return name == next_latest_name ||
         (name.starts_with(fmt::format(".{}", name_prefix)) && name.ends_with(partial_suffix));
}

}  // namespace

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

fs::path checkpoint_path(const fs::path& folder, Index step) {
  return (folder.empty() ? fs::path(".") : folder) / fmt::format("{}{:08}{}", name_prefix, step, name_suffix);
}

fs::path partial_path(const fs::path& folder, Index step) {
  return (folder.empty() ? fs::path(".") : folder) / fmt::format(".{}{:08}{}", name_prefix, step, partial_suffix);
}

std::optional<Index> step_of(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.starts_with(name_prefix) || !name.ends_with(name_suffix)) return {};
  const char* const first = name.data() + name_prefix.size();
  const char* const last = name.data() + name.size() - name_suffix.size();
  Index step = -1;
  const auto [end, error] = std::from_chars(first, last, step);
  if (error != std::errc{} || end != last || step < 0) return {};
  return step;
}

std::vector<StoredStep> stored_steps(const fs::path& folder) {
  std::vector<StoredStep> steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::optional<Index> step = step_of(entry.path());
    if (step) steps.push_back({*step, entry.path()});
  }
  std::sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return steps;
}

void point_latest(const fs::path& file) {
  const fs::path folder = folder_of(file);
  const fs::path next = folder / next_latest_name;
  std::error_code error;
  fs::remove(next, error);
  fs::create_symlink(file.filename(), next, error);
  // Without the link, the checkpoint of the highest step is found by its name.
  if (error == std::errc::operation_not_permitted || error == std::errc::operation_not_supported ||
      error == std::errc::function_not_supported) {
    return;
  }
  if (!error) fs::rename(next, folder / latest_name, error);
  if (error) {
    throw InputError(fmt::format("cannot replace '{}': {}", (folder / latest_name).string(), error.message()),
                     "it is the program's own link: remove what stands there instead");
  }
}

std::optional<fs::path> latest_of(const fs::path& folder) {
  std::error_code error;
  const fs::path target = fs::read_symlink(folder / latest_name, error);
  // The program's own link names a file beside it. Anything else is somebody's own, and not to be followed.
  if (error || target.has_parent_path() || !step_of(target)) return {};
  return folder / target;
}

void prune(const fs::path& written, const Retention& retention) {
  const fs::path folder = folder_of(written);
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_leftover(entry.path().filename().string())) old.push_back(entry.path());
  }
  Index kept = 1;
  for (const StoredStep& other : stored_steps(folder)) {
    if (other.file.filename() == written.filename()) continue;
    const bool is_new = ++kept <= retention.last;
    const bool stays = is_new || (retention.every > 0 && other.step % retention.every == 0);
    if (!stays) old.push_back(other.file);
  }
  // The new checkpoint stands: an old one that cannot be removed takes space but endangers nothing.
  std::error_code ignored;
  for (const fs::path& file : old) fs::remove(file, ignored);
}

}  // namespace conclave::train
