// SPDX-License-Identifier: BSD-3-Clause
// From raw gates to combine weights.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/matrix.hpp"

namespace conclave::gating {

/// How raw gates become combine weights: g_j = scale r_j / max(sum r, 1e-9), the sum over all k choices (selected) or
/// over those that are kept; or g_j = scale r_j (none).
struct GateRule {
  Normalise normalise = Normalise::none;
  double scale = 1.0;
};

/// Writes one token's gates. raw, gate: [k]; kept[j] != 0 where choice j has a slot; gates of others are 0.
template <class T>
void normalise_gates(const GateRule& rule, std::span<const T> raw, std::span<const char> kept, std::span<T> gate);

/// d_raw[j] += the gradient of normalise_gates; d_gate[j] is not looked at where choice j is not kept.
template <class T>
void normalise_gates_backward(const GateRule& rule, std::span<const T> raw, std::span<const char> kept,
                              std::span<const T> d_gate, std::span<T> d_raw);

}  // namespace conclave::gating
