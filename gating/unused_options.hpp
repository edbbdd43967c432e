// SPDX-License-Identifier: BSD-3-Clause
// Which of a router's options change nothing.
#pragma once

#include "gating/options.hpp"

namespace conclave::gating {

/// An option, and why it has no effect beside the others: "(hash) has no scores".
struct UnusedOption {
  std::string name;
  std::string reason;
};

/// The options that have no effect in a router of these options, in the order of their description.
[[nodiscard]] std::vector<UnusedOption> unused_options(const RouterOptions& options);

}  // namespace conclave::gating
