// SPDX-License-Identifier: BSD-3-Clause
// What --exchange auto decided, in words.
#pragma once

#include "apps/option_sections.hpp"
#include "comm/mpi/exchange.hpp"

namespace conclave::apps {

/// "shared (pairwise 121.2 us, flat 153.9 us, shared 5.4 us)": the choice and what was measured for it.
[[nodiscard]] std::string text_of(const comm::ExchangeChoice& choice);

/// One line: how many exchanges travel by which strategy.
[[nodiscard]] std::string summary_of(std::span<const comm::ExchangeChoice> choices);

}  // namespace conclave::apps
