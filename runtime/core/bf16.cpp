// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/bf16.hpp"

#include "runtime/core/error.hpp"

#include <bit>

namespace conclave {

template <class T>
void to_bf16(std::span<const T> values, std::span<std::uint16_t> rounded) {
  invariant(values.size() == rounded.size(), "{} values to {}", values.size(), rounded.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(values[i]));
    const std::uint32_t to_even = bits + 0x7fffU + ((bits >> 16U) & 1U);
    const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
    rounded[i] = static_cast<std::uint16_t>((is_nan ? bits | 0x00400000U : to_even) >> 16U);
  }
}

template <class T>
void from_bf16(std::span<const std::uint16_t> rounded, std::span<T> values) {
  invariant(values.size() == rounded.size(), "{} values from {}", values.size(), rounded.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<T>(std::bit_cast<float>(static_cast<std::uint32_t>(rounded[i]) << 16U));
  }
}

#define CONCLAVE_INSTANTIATE(T)                                        \
  template void to_bf16(std::span<const T>, std::span<std::uint16_t>); \
  template void from_bf16(std::span<const std::uint16_t>, std::span<T>)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave
