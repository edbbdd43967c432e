// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/text_domains.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

namespace conclave::train {
namespace {

// The first name on the way from the folder to the file.
std::string entry_of(const std::string& file, const std::filesystem::path& folder) {
  return std::filesystem::path(file).lexically_relative(folder).begin()->string();
}

}  // namespace

TextDomains::TextDomains(const TextFiles& files, const std::string& path) {
  std::vector<std::string> entries;
  for (Index file = 0; file < files.num_files(); ++file) entries.push_back(entry_of(files.path(file), path));
  const std::set<std::string> distinct(entries.begin(), entries.end());
  if (distinct.size() < 2) return;
  names_.assign(distinct.begin(), distinct.end());
  for (const std::string& entry : entries) {
    domain_of_file_.push_back(std::lower_bound(names_.begin(), names_.end(), entry) - names_.begin());
  }
}

}  // namespace conclave::train
