// SPDX-License-Identifier: BSD-3-Clause
#include "gating/gates.hpp"

namespace conclave::gating {
namespace {

constexpr double smallest_sum = 1e-9;

template <class T>
T gate_sum(Normalise normalise, std::span<const T> raw, std::span<const char> kept) {
  T sum{0};
  for (std::size_t j = 0; j < raw.size(); ++j) {
    if (normalise == Normalise::selected || kept[j] != 0) sum += raw[j];
  }
  return sum;
}

}  // namespace

template <class T>
void normalise_gates(const GateRule& rule, std::span<const T> raw, std::span<const char> kept, std::span<T> gate) {
  T divisor{1};
  if (rule.normalise != Normalise::none) {
    divisor = std::max(gate_sum(rule.normalise, raw, kept), static_cast<T>(smallest_sum));
  }
  for (std::size_t j = 0; j < raw.size(); ++j) {
    gate[j] = kept[j] != 0 ? static_cast<T>(rule.scale) * (raw[j] / divisor) : T{0};
  }
}

// g_j = scale r_j / s: dr_j = scale (dg_j - sum_i dg_i r_i / s) / s where r_j is in the sum, without the second term
// where it is not or where s is held at its least value.
template <class T>
void normalise_gates_backward(const GateRule& rule, std::span<const T> raw, std::span<const char> kept,
                              std::span<const T> d_gate, std::span<T> d_raw) {
  const auto scale = static_cast<T>(rule.scale);
  T divisor{1};
  T through_sum{0};
  if (rule.normalise != Normalise::none) {
    const T sum = gate_sum(rule.normalise, raw, kept);
    divisor = std::max(sum, static_cast<T>(smallest_sum));
    if (sum > static_cast<T>(smallest_sum)) {
      for (std::size_t j = 0; j < raw.size(); ++j) {
        if (kept[j] != 0) through_sum += d_gate[j] * raw[j] / divisor;
      }
    }
  }
  for (std::size_t j = 0; j < raw.size(); ++j) {
    const bool in_sum = rule.normalise == Normalise::selected || kept[j] != 0;
    const T direct = kept[j] != 0 ? d_gate[j] : T{0};
    d_raw[j] += scale * (direct - (in_sum ? through_sum : T{0})) / divisor;
  }
}

template void normalise_gates(const GateRule&, std::span<const float>, std::span<const char>, std::span<float>);
template void normalise_gates(const GateRule&, std::span<const double>, std::span<const char>, std::span<double>);
template void normalise_gates_backward(const GateRule&, std::span<const float>, std::span<const char>,
                                       std::span<const float>, std::span<float>);
template void normalise_gates_backward(const GateRule&, std::span<const double>, std::span<const char>,
                                       std::span<const double>, std::span<double>);

}  // namespace conclave::gating
