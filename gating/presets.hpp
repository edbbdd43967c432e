// SPDX-License-Identifier: BSD-3-Clause
// Published systems' ways of routing, as values of RouterOptions. Where a system's rule depends on how many ranks there
// are, its preset takes the form without ranks: a group stands for what the system calls a rank, a device or a
// micro-batch.
#pragma once

#include "gating/options.hpp"

#include <set>

namespace conclave::gating {

/// One system. `apply` sets what the system settles; it finds `experts`, `top_k` and the options that the user gave as
/// they will be.
struct RouterPreset {
  std::string_view name;
  std::string_view help;    // one line
  std::string_view source;  // paper, and the file of the system's code that it follows
  std::string_view notes;   // where it is not the system to the letter
  Index top_k;              // the only one of the system's method; 0: any
  void (*apply)(RouterOptions& options);
};

[[nodiscard]] const std::vector<RouterPreset>& router_presets();
/// The preset of that name; InputError naming the valid ones for any other.
[[nodiscard]] const RouterPreset& find_preset(std::string_view name);
/// "gshard, switch, ...", for help.
[[nodiscard]] std::string preset_names();

/// Gives `options` the values of the preset that options.router_preset names, except for options in `given` and for
/// `experts`. Does nothing where it is empty. top_k is at most the number of experts. InputError for an unknown name.
void apply_preset(RouterOptions& options, const std::set<std::string>& given);

/// Where the options are other than their preset has them for as many experts and choices: "jitter = 0.1 (switch:
/// 0.01)". Empty without a preset.
[[nodiscard]] std::vector<std::string> departures_from_preset(const RouterOptions& options);

}  // namespace conclave::gating
