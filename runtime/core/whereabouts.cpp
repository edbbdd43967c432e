// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/whereabouts.hpp"

#include "runtime/core/trace.hpp"

namespace conclave {
namespace {

Index now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void Whereabouts::pass() {
  since_ns_.store(now_ns(), std::memory_order_relaxed);
  passed_.fetch_add(1, std::memory_order_release);
}

void Whereabouts::begin(Activity activity, Index step) {
  activity_.store(activity, std::memory_order_relaxed);
  step_.store(step, std::memory_order_relaxed);
  layer_.store(none, std::memory_order_relaxed);
  leave_phase();
}

void Whereabouts::enter(Phase phase) {
  waits_.store(phase == Phase::wait, std::memory_order_relaxed);
  if (phase != Phase::wait) phase_.store(static_cast<Index>(phase), std::memory_order_relaxed);
  pass();
}

void Whereabouts::leave_phase() {
  phase_.store(none, std::memory_order_relaxed);
  waits_.store(false, std::memory_order_relaxed);
  pass();
}

Place Whereabouts::read() const {
  Place place;
  place.passed = passed_.load(std::memory_order_acquire);
  place.activity = activity_.load(std::memory_order_relaxed);
  place.step = step_.load(std::memory_order_relaxed);
  if (const Index layer = layer_.load(std::memory_order_relaxed); layer != none) place.layer = layer;
  if (const Index phase = phase_.load(std::memory_order_relaxed); phase != none) place.phase = Phase(phase);
  place.waits = waits_.load(std::memory_order_relaxed);
  place.age_s = 1e-9 * static_cast<double>(now_ns() - since_ns_.load(std::memory_order_relaxed));
  return place;
}

std::string Place::text() const {
  std::string what(phase ? name_of(*phase) : name_of(activity));
  if (layer) what += fmt::format(" of layer {}", *layer);
  if (phase && activity == Activity::evaluating) what += " in an evaluation";
  if (activity == Activity::starting) return what;
  // a step in training is the one after those done
  return what +
         (activity == Activity::training ? fmt::format(", step {}", step + 1) : fmt::format(" after step {}", step));
}

}  // namespace conclave
