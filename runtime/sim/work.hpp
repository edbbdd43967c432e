// SPDX-License-Identifier: BSD-3-Clause
// What an operation does, apart from how fast a machine does it.
#pragma once

namespace conclave::sim {

/// calls: of library functions or kernels, each of which costs something before it does anything. flops: 2 a
/// multiplication. bytes: that go through memory if nothing stays in a cache between two calls. elements: values that
/// cost a function or a decision of their own each (attention's exponentials, the gate's choices).
struct Work {
  double calls = 0.0;
  double flops = 0.0;
  double bytes = 0.0;
  double elements = 0.0;

  Work& operator+=(const Work& other) {
    calls += other.calls;
    flops += other.flops;
    bytes += other.bytes;
    elements += other.elements;
    return *this;
  }
  [[nodiscard]] friend Work operator+(Work a, const Work& b) { return a += b; }
  /// The same, `times` times.
  [[nodiscard]] Work scaled(double times) const {
    return {calls * times, flops * times, bytes * times, elements * times};
  }
  friend bool operator==(const Work&, const Work&) = default;
};

}  // namespace conclave::sim
