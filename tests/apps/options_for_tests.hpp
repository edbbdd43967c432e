// SPDX-License-Identifier: BSD-3-Clause
// Options of every kind, as a command describes them.
#pragma once

#include "apps/option_sections.hpp"

#include <array>

namespace conclave::apps {

enum class Colour { red, green };

inline constexpr std::array<EnumName<Colour>, 2> enum_names(Colour) {
  return {{{Colour::red, "red"}, {Colour::green, "green"}}};
}

struct TestOptions {
  Index top_k = 2;
  double learning_rate = 3e-4;
  bool overlap = true;
  bool resume = false;
  std::string prompt = "Once";
  std::vector<std::string> files{"a", "b"};
  std::vector<Index> sizes{1, 2};
  Colour colour = Colour::red;
  friend bool operator==(const TestOptions&, const TestOptions&) = default;
};

inline void describe(TestOptions& options, OptionSections& sections) {
  OptionTable& gate = sections.section("Gate");
  gate.add("top_k", options.top_k, "experts a token goes to");
  gate.add("colour", options.colour, "an enumeration");
  gate.add("overlap", options.overlap, "a flag that is on");
  OptionTable& run = sections.section("Run");
  run.add("learning_rate", options.learning_rate, "a real number");
  run.add("resume", options.resume, "a flag that is off");
  run.add("prompt", options.prompt, "a text");
  run.add("files", options.files, "a list of texts");
  run.add("sizes", options.sizes, "a list of integers");
}

}  // namespace conclave::apps
