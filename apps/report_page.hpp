// SPDX-License-Identifier: BSD-3-Clause
// A report as one HTML page that needs nothing but itself: no script, no font, no picture from elsewhere.
#pragma once

#include <string>
#include <vector>

namespace conclave::apps {

struct Picture {
  std::string file;     // a name for it as a file of its own, without ".svg"
  std::string svg;      // the whole element
  std::string caption;  // a sentence below it, or nothing
};

/// Rows below a line of heads; the first column holds heads too.
struct PageTable {
  std::vector<std::string> heads;
  std::vector<std::vector<std::string>> rows;
};

/// All texts but `markup` are plain: whatever they hold is shown as it is.
struct PageSection {
  std::string heading;
  std::vector<std::string> paragraphs{};
  std::vector<PageTable> tables{};
  std::vector<Picture> pictures{};
  std::string markup{};  // HTML, below the paragraphs; who makes it escapes what it holds
};

[[nodiscard]] std::string page_text(const std::string& title, const std::vector<PageSection>& sections);

}  // namespace conclave::apps
