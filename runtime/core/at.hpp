// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/ids.hpp"

namespace conclave {

/// A number as a place in an array.
inline std::size_t at(Index number) { return static_cast<std::size_t>(number); }

}  // namespace conclave
