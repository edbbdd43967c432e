// SPDX-License-Identifier: BSD-3-Clause
// The tier `rounds`: an exchange in steps that follow one another, as comm/plan schedules them. Times are a recursion
// in max-plus algebra, a rank at a time: a message starts when both of its ranks have ended what came before, and takes
// its latency and the time in which the busiest resource on its way carries what the round gives it. Where ranks of a
// node are in different rounds at once they share what the recursion knows nothing of: so no exchange ends before each
// resource has carried all its bytes.
#pragma once

#include "comm/plan/schedule.hpp"
#include "runtime/sim/network.hpp"

namespace conclave::sim {

/// When each rank has ended the rounds so far. Memory O(ranks + resources).
class RoundClock {
 public:
  explicit RoundClock(const Network& network);

  /// One round of messages that may run at the same time. Those without bytes, and from a rank to itself, are none.
  void advance(std::span<const Pair> messages);
  /// Seconds until the last rank has ended, and each resource has carried all its bytes. Costs O(ranks + resources).
  [[nodiscard]] double time_s() const { return last_end().time_s; }
  /// The resource that the last rank to end waited for in its last round, or whose bytes all in all take longer; -1:
  /// there was no message.
  [[nodiscard]] Index busiest_resource() const { return last_end().resource; }

 private:
  /// When all is done, and the resource that was waited for.
  struct End {
    double time_s = 0.0;
    Index resource = -1;
  };
  [[nodiscard]] End last_end() const;
  struct Sent {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::size_t route_end = 0;  // in routes_; it begins where that of the message before ends
  };
  void load(const Pair& message);
  void end(const Sent& message, std::span<const Index> route);

  const Network& network_;
  std::vector<double> ended_s_;    // [num_ranks]
  std::vector<double> next_s_;     // [num_ranks] of the round that is on
  std::vector<Index> limited_by_;  // [num_ranks] resource that made the rank's last round so long
  std::vector<double> bytes_;      // [num_resources] in this round
  std::vector<double> all_bytes_;  // [num_resources] in all rounds so far
  std::vector<Sent> sent_;         // in this round
  std::vector<Index> routes_;      // theirs
  std::vector<Index> route_;
};

/// Seconds of an exchange as a schedule of comm/plan has it, phase after phase. For few ranks: a step is an object.
[[nodiscard]] double schedule_s(const Network& network, std::vector<plan::Step> steps);

}  // namespace conclave::sim
