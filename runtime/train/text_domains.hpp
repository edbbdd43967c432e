// SPDX-License-Identifier: BSD-3-Clause
// The domains of a folder of text: what stands directly in it, a file or a sub-folder each.
#pragma once

#include "runtime/train/text.hpp"

namespace conclave::train {

class TextDomains {
 public:
  /// Those of the files found below `path`. None where they are a single file or all stand in one entry.
  TextDomains(const TextFiles& files, const std::string& path);

  /// Names of files and sub-folders, in the order of their bytes; a domain's number is its place. Empty or at least 2.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  /// The domain of a file's text, where there are any.
  [[nodiscard]] Index of_file(Index file) const { return domain_of_file_[static_cast<std::size_t>(file)]; }

 private:
  std::vector<std::string> names_;
  std::vector<Index> domain_of_file_;  // [num_files], or empty
};

}  // namespace conclave::train
