// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/random.hpp"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>

namespace conclave {
namespace {

double unit_interval(std::uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

}  // namespace

std::array<std::uint32_t, 4> Random::words(Index i, Index j) const {
  using Philox = r123::Philox4x32;  // ten rounds
  const Philox::ctr_type counter = {{static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j), layer_, step_}};
  const Philox::key_type key = {{key_[0], key_[1]}};
  const Philox::ctr_type out = Philox{}(counter, key);
  return {out[0], out[1], out[2], out[3]};
}

double Random::uniform(Index i, Index j) const { return unit_interval(bits(i, j)); }

double Random::normal(Index i, Index j) const {
  const auto w = words(i, j);
  return std::sqrt(-2.0 * std::log(unit_interval(w[0]))) * std::cos(2.0 * std::numbers::pi * unit_interval(w[1]));
}

}  // namespace conclave
