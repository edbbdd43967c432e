// SPDX-License-Identifier: BSD-3-Clause
// Everything that reads text from outside, each as one function of bytes: for the test that damages seeds by number and
// for libFuzzer alike.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::fuzz {

struct Input {
  std::string_view name;
  /// Reads the bytes. Returns, or throws InputError; InvariantError where what was read does not hold what it promises.
  void (*read)(std::string_view bytes);
  std::vector<std::string> seeds;  // good inputs
  std::vector<std::string> words;  // that mean something to the reader
};

[[nodiscard]] std::span<const Input> inputs();

}  // namespace conclave::fuzz
