// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/machine.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

Fitted between(const Fitted& a, const Fitted& b, double share) {
  return {std::lerp(a.value, b.value, share), std::lerp(a.low, b.low, share), std::lerp(a.high, b.high, share)};
}

Rate between(const Rate& a, const Rate& b, double share) {
  return {between(a.s_per_call, b.s_per_call, share), between(a.s_per_flop, b.s_per_flop, share),
          between(a.s_per_byte, b.s_per_byte, share), between(a.s_per_far_byte, b.s_per_far_byte, share),
          between(a.s_per_element, b.s_per_element, share)};
}

}  // namespace

ComputeRates Machine::rates(Index active_ranks) const {
  invariant(!compute.empty(), "a machine without rates");
  const auto above = std::ranges::lower_bound(compute, active_ranks, {}, &ComputeRates::active_ranks);
  if (above == compute.end()) return compute.back();
  if (above == compute.begin() || above->active_ranks == active_ranks) return *above;
  const ComputeRates& below = *std::prev(above);
  const double share = static_cast<double>(active_ranks - below.active_ranks) /
                       static_cast<double>(above->active_ranks - below.active_ranks);
  ComputeRates result{active_ranks, below.threads, {}};
  for (std::size_t p = 0; p < num_phases; ++p) {
    result.phases[p] = between(below.phases[p], above->phases[p], share);
  }
  return result;
}

double far_share(double footprint_bytes, double cache_bytes) {
  return footprint_bytes > 0.0 ? footprint_bytes / (footprint_bytes + cache_bytes) : 0.0;
}

bool Machine::is_beyond(Index active_ranks) const {
  invariant(!compute.empty(), "a machine without rates");
  return active_ranks < compute.front().active_ranks || active_ranks > compute.back().active_ranks;
}

double Machine::over_price(std::string_view exchange, double message_bytes) const {
  const ExchangeFactor* below = nullptr;
  for (const ExchangeFactor& factor : exchanges) {
    if (factor.exchange != exchange) continue;
    if (factor.message_bytes >= message_bytes) {
      if (below == nullptr) return factor.over_price.value;
      const double at =
          std::log(message_bytes / below->message_bytes) / std::log(factor.message_bytes / below->message_bytes);
      return std::lerp(below->over_price.value, factor.over_price.value, at);
    }
    below = &factor;
  }
  return below == nullptr ? 1.0 : below->over_price.value;
}

}  // namespace conclave::sim
