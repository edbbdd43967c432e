// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/damage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace conclave::fuzz {
namespace {

struct Part {
  std::size_t begin = 0;
  std::size_t size = 0;
};

/// Small ones as often as large ones.
Part some_part(const std::string& bytes, Draws& draws) {
  const Index size = std::ssize(bytes);
  const Index begin = draws.below(size);
  const Index most = std::min(size - begin, Index{1} << draws.below(16));
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(1 + draws.below(std::max<Index>(most, 1)))};
}

char any_byte(Draws& draws) {
  constexpr std::array<unsigned char, 6> telling{0x00, 0xff, 0x7f, 0x80, 0x01, 0x0a};
  return static_cast<char>(draws.one_in(2) ? telling[static_cast<std::size_t>(draws.below(6))] : draws.below(256));
}

std::string flip(std::string& bytes, Draws& draws) {
  const Index flips = draws.one_in(2) ? 1 : 1 + draws.below(16);
  std::string text = "flips bits at";
  for (Index i = 0; i < flips; ++i) {
    const auto at = static_cast<std::size_t>(draws.below(std::ssize(bytes)));
    bytes[at] ^= static_cast<char>(1 << draws.below(8));
    text += fmt::format(" {}", at);
  }
  return text;
}

std::string overwrite(std::string& bytes, Draws& draws) {
  const Part part = some_part(bytes, draws);
  const std::size_t size = std::min<std::size_t>(part.size, 8);
  for (std::size_t i = 0; i < size; ++i) bytes[part.begin + i] = any_byte(draws);
  return fmt::format("overwrites {} bytes at {}", size, part.begin);
}

std::string zero(std::string& bytes, Draws& draws) {
  const Part part = some_part(bytes, draws);
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(part.begin), part.size, '\0');
  return fmt::format("zeroes {} bytes at {}", part.size, part.begin);
}

std::string swap(std::string& bytes, Draws& draws) {
  const Part one = some_part(bytes, draws);
  const Part other = some_part(bytes, draws);
  const std::size_t size = std::min(one.size, other.size);
  for (std::size_t i = 0; i < size; ++i) std::swap(bytes[one.begin + i], bytes[other.begin + i]);
  return fmt::format("swaps {} bytes at {} and {}", size, one.begin, other.begin);
}

std::string copy_over(std::string& bytes, Draws& draws) {
  const Part from = some_part(bytes, draws);
  const Part to = some_part(bytes, draws);
  const std::size_t size = std::min(from.size, to.size);
  bytes.replace(to.begin, size, bytes.substr(from.begin, size));
  return fmt::format("copies {} bytes from {} to {}", size, from.begin, to.begin);
}

std::string cut_off(std::string& bytes, Draws& draws) {
  const auto size = static_cast<std::size_t>(draws.one_in(2) ? draws.below(std::ssize(bytes))
                                                             : std::ssize(bytes) - some_part(bytes, draws).size);
  bytes.resize(std::min(size, bytes.size()));
  return fmt::format("cuts it off at {}", bytes.size());
}

std::string cut_out(std::string& bytes, Draws& draws) {
  const Part part = some_part(bytes, draws);
  bytes.erase(part.begin, part.size);
  return fmt::format("cuts {} bytes out at {}", part.size, part.begin);
}

std::string put_in(std::string& bytes, Draws& draws) {
  const Part part = some_part(bytes, draws);
  const std::size_t at = draws.one_in(2) ? bytes.size() : part.begin;
  const std::string added =
      draws.one_in(2) ? bytes.substr(part.begin, part.size) : std::string(part.size, any_byte(draws));
  bytes.insert(at, added);
  return fmt::format("puts {} bytes in at {}", added.size(), at);
}

using Kind = std::string (*)(std::string&, Draws&);
constexpr std::array<Kind, 5> in_place{flip, overwrite, zero, swap, copy_over};
constexpr std::array<Kind, 8> all_kinds{flip, overwrite, zero, swap, copy_over, cut_off, cut_out, put_in};

std::string one_of(std::span<const Kind> kinds, std::string& bytes, Draws& draws) {
  return bytes.empty() ? "leaves nothing as it is" : draws.of(kinds)(bytes, draws);
}

}  // namespace

std::string damage(std::string& bytes, Draws& draws) { return one_of(all_kinds, bytes, draws); }

std::string damage_in_place(std::string& bytes, Draws& draws) { return one_of(in_place, bytes, draws); }

std::string damage_text(std::string& text, std::span<const std::string> words, Draws& draws) {
  std::string said;
  for (Index times = 1 + draws.below(4); times > 0; --times) {
    if (words.empty() || draws.one_in(2)) {
      said += damage(text, draws) + "; ";
      continue;
    }
    const std::string& word = draws.of(words);
    const auto at = static_cast<std::size_t>(draws.below(std::ssize(text) + 1));
    const std::size_t over = draws.one_in(2) ? 0 : std::min(word.size(), text.size() - at);
    text.replace(at, over, word);
    said += fmt::format("puts '{}' in at {}; ", word, at);
  }
  return said;
}

}  // namespace conclave::fuzz
