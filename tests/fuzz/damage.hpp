// SPDX-License-Identifier: BSD-3-Clause
// Bytes as disks, networks and people damage them. For every kind of input.
#pragma once

#include "tests/fuzz/draws.hpp"

namespace conclave::fuzz {

/// Changes `bytes` in one way, or a few, and says which: bits flipped, bytes overwritten, a range zeroed, cut out,
/// doubled or swapped with another, the end cut off or lengthened. Now and then the result is the same.
std::string damage(std::string& bytes, Draws& draws);

/// As damage, without a change of length.
std::string damage_in_place(std::string& bytes, Draws& draws);

/// As damage, and with pieces of `words`, which mean something to whoever reads the text, put in or over.
std::string damage_text(std::string& text, std::span<const std::string> words, Draws& draws);

}  // namespace conclave::fuzz
