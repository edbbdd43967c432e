// SPDX-License-Identifier: BSD-3-Clause
// The strategies of --exchange, and what `auto` decided, in words.
#pragma once

#include "apps/option_sections.hpp"
#include "comm/mpi/exchange.hpp"

namespace conclave::apps {

/// "flat (every rank sends ...), ...": every strategy with what it does, for help.
[[nodiscard]] std::string exchange_names();

/// "shared (pairwise 121.2 us, flat 153.9 us, shared 5.4 us)": the choice and what was measured for it.
[[nodiscard]] std::string text_of(const comm::ExchangeChoice& choice);

/// One line: how many exchanges travel by which strategy.
[[nodiscard]] std::string summary_of(const std::vector<comm::ExchangeChoice>& choices);

}  // namespace conclave::apps
