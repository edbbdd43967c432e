// SPDX-License-Identifier: BSD-3-Clause
// bfloat16: the upper half of a float32. Half the bytes on the wire, 8 bits of precision, the range of float32.
#pragma once

#include <cstdint>
#include <span>

namespace conclave {

/// The nearest bfloat16 of each value, ties to the even one (as CPUs' own conversion rounds); a NaN stays one. Of a
/// double, that of its nearest float.
template <class T>
void to_bf16(std::span<const T> values, std::span<std::uint16_t> rounded);

/// Exact.
template <class T>
void from_bf16(std::span<const std::uint16_t> rounded, std::span<T> values);

}  // namespace conclave
