// SPDX-License-Identifier: BSD-3-Clause
// Command lines to begin with, as --help shows them.
#pragma once

#include <span>
#include <string_view>

namespace conclave::apps {

/// Of the command of that name ("train", "bench layer"); every command has one at least.
[[nodiscard]] std::span<const std::string_view> examples_of(std::string_view command);

}  // namespace conclave::apps
