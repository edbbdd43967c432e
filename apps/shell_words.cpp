// SPDX-License-Identifier: BSD-3-Clause
#include "apps/shell_words.hpp"

#include "runtime/core/error.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace conclave::apps {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Characters that mean nothing to a shell wherever they stand in a word, nor to sbatch.
bool is_plain(char c) {
  constexpr std::string_view others = "_./:,+@%=-";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         others.find(c) != std::string_view::npos;
}

bool is_plain_word(std::string_view word) { return !word.empty() && std::all_of(word.begin(), word.end(), is_plain); }

}  // namespace

std::string shell_quoted(std::string_view word) {
  invariant(word.find('\0') == std::string_view::npos, "a word with a NUL");
  if (is_plain_word(word)) return std::string(word);
  std::string text;
  if (std::none_of(word.begin(), word.end(), is_control)) {
    for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return "'" + text + "'";
  }
  for (const char c : word) {
    if (is_control(c)) {
      text += fmt::format("\\{:03o}", static_cast<unsigned>(c));  // three digits: the next one is not taken along
    } else {
      if (c == '\'' || c == '\\') text += '\\';
      text += c;
    }
  }
  return "$'" + text + "'";
}

std::string sbatch_quoted(std::string_view name, std::string_view value) {
  if (std::any_of(value.begin(), value.end(), is_control)) {
    throw InputError(fmt::format("{} = {} has a line break or another control character", name, shell_quoted(value)),
                     "sbatch cannot read one in a job file: choose another text");
  }
  if (is_plain_word(value)) return std::string(value);
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\' || c == '#') text += '\\';
    text += c;
  }
  return text + '"';
}

}  // namespace conclave::apps
