// SPDX-License-Identifier: BSD-3-Clause
// Where a rank is in its work, for watchers in other threads and other processes of its node.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>

namespace conclave {

enum class Phase : int;

/// What a rank is busy with, beside the steps of training themselves.
enum class Activity { starting, training, evaluating, saving, ending };

inline constexpr std::array<EnumName<Activity>, 5> enum_names(Activity) {
  return {{{Activity::starting, "starting"},
           {Activity::training, "training"},
           {Activity::evaluating, "evaluating"},
           {Activity::saving, "saving"},
           {Activity::ending, "ending"}}};
}

/// A place in a rank's work, as it was read.
struct Place {
  Index passed = 0;  // places passed so far: ranks that work together pass the same ones in the same order
  Activity activity = Activity::starting;
  Index step = 0;  // steps done
  std::optional<Index> layer{};
  std::optional<Phase> phase{};
  bool waits = false;  // for other ranks
  double age_s = 0.0;  // since it was reached
  /// "combine of layer 5, step 17", "saving, step 500".
  [[nodiscard]] std::string text() const;
};

/// Written by a rank's main thread; read by anybody, at any time. Its fields are atomic each for itself: a reader may
/// see a place half way to the next one. May stand in memory that processes of one machine share.
class Whereabouts {
 public:
  void begin(Activity activity, Index step);
  void enter_layer(std::optional<Index> layer) { layer_.store(layer.value_or(none), std::memory_order_relaxed); }
  /// Phase::wait keeps the phase that waits.
  void enter(Phase phase);
  void leave_phase();

  [[nodiscard]] Place read() const;

 private:
  static constexpr Index none = -1;
  void pass();

  std::atomic<Index> passed_{0};
  std::atomic<Index> since_ns_{0};  // of the steady clock, which a machine's processes share
  std::atomic<Activity> activity_{Activity::starting};
  std::atomic<Index> step_{0};
  std::atomic<Index> layer_{none};
  std::atomic<Index> phase_{none};
  std::atomic<bool> waits_{false};
};
static_assert(std::atomic<Index>::is_always_lock_free, "whereabouts are shared between processes");

}  // namespace conclave
