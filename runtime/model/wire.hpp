// SPDX-License-Identifier: BSD-3-Clause
// How numbers are written on the wire.
#pragma once

#include "runtime/core/options.hpp"

#include <array>

namespace conclave::model {

/// How rows travel: as they are, or rounded to bfloat16 (runtime/core/bf16.hpp), half the bytes. A rank's rows for
/// itself are rounded all the same, so that bits do not depend on who is whose neighbour.
enum class Wire { fp32, bf16 };

inline constexpr std::array<EnumName<Wire>, 2> enum_names(Wire) {
  return {{{Wire::fp32, "fp32"}, {Wire::bf16, "bf16"}}};
}

}  // namespace conclave::model
