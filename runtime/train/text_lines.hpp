// SPDX-License-Identifier: BSD-3-Clause
// The lines of a text file.
#pragma once

#include "runtime/core/ids.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

namespace conclave::train {

/// A line without its end, "\n" or "\r\n".
struct TextLine {
  std::string_view text;
  Index number = 1;  // from 1
  Index begin = 0;   // its first byte in the file
};

/// Calls visit(const TextLine&) for every line of a file's bytes, empty ones too. A byte order mark at the beginning
/// belongs to none.
template <class Visit>
void for_each_line(std::span<const std::uint8_t> file, Visit&& visit) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  std::size_t at = bytes.starts_with(byte_order_mark) ? byte_order_mark.size() : 0;
  for (Index number = 1; at < bytes.size(); ++number) {
    const std::size_t end = std::min(bytes.find('\n', at), bytes.size());
    std::string_view line = bytes.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(TextLine{line, number, static_cast<Index>(at)});
    at = end + 1;
  }
}

}  // namespace conclave::train
