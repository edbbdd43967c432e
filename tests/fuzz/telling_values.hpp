// SPDX-License-Identifier: BSD-3-Clause
// Values that readers are apt to take wrongly.
#pragma once

#include "tests/fuzz/draws.hpp"

namespace conclave::fuzz {

[[nodiscard]] Index some_integer(Draws& draws);
[[nodiscard]] double some_real(Draws& draws);
/// Often a number; sometimes up to 100,000 bytes.
[[nodiscard]] std::string some_text(Draws& draws);

}  // namespace conclave::fuzz
