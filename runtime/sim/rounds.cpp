// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/rounds.hpp"

#include <algorithm>

namespace conclave::sim {

RoundClock::RoundClock(const Network& network)
    : network_(network),
      ended_s_(static_cast<std::size_t>(network.num_ranks()), 0.0),
      next_s_(ended_s_),
      limited_by_(ended_s_.size(), -1),
      bytes_(static_cast<std::size_t>(network.num_resources()), 0.0),
      all_bytes_(bytes_) {}

void RoundClock::load(const Pair& message) {
  network_.route(RankId{message.from}, RankId{message.to}, route_);
  routes_.insert(routes_.end(), route_.begin(), route_.end());
  sent_.push_back({message.from, message.to, routes_.size()});
  for (const Index resource : route_) {
    bytes_[static_cast<std::size_t>(resource)] += message.bytes;
    all_bytes_[static_cast<std::size_t>(resource)] += message.bytes;
  }
}

void RoundClock::end(const Sent& message, std::span<const Index> route) {
  double longest_s = 0.0;
  Index busiest = -1;
  for (const Index resource : route) {
    const double s = bytes_[static_cast<std::size_t>(resource)] / network_.capacity_Bps(resource);
    if (busiest != -1 && s <= longest_s) continue;
    longest_s = s;
    busiest = resource;
  }
  const double start_s = std::max(ended_s_[message.from], ended_s_[message.to]);
  const double end_s = start_s + network_.latency_s(RankId{message.from}, RankId{message.to}) + longest_s;
  for (const std::uint32_t rank : {message.from, message.to}) {
    if (end_s <= next_s_[rank]) continue;
    next_s_[rank] = end_s;
    limited_by_[rank] = busiest;
  }
}

void RoundClock::advance(std::span<const Pair> messages) {
  sent_.clear();
  routes_.clear();
  for (const Pair& message : messages) {
    if (message.from != message.to && message.bytes > 0.0) load(message);
  }
  std::size_t begin = 0;
  for (const Sent& message : sent_) {
    end(message, std::span(routes_).subspan(begin, message.route_end - begin));
    begin = message.route_end;
  }
  ended_s_ = next_s_;
  for (const Index resource : routes_) bytes_[static_cast<std::size_t>(resource)] = 0.0;
}

RoundClock::End RoundClock::last_end() const {
  const auto last = std::max_element(ended_s_.begin(), ended_s_.end());
  if (last == ended_s_.end()) return {};
  End end{*last, limited_by_[static_cast<std::size_t>(last - ended_s_.begin())]};
  for (Index resource = 0; resource < network_.num_resources(); ++resource) {
    const double carried_s = all_bytes_[static_cast<std::size_t>(resource)] / network_.capacity_Bps(resource);
    if (carried_s > end.time_s) end = {carried_s, resource};
  }
  return end;
}

double schedule_s(const Network& network, std::vector<plan::Step> steps) {
  std::stable_sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.phase < b.phase; });
  RoundClock clock(network);
  std::vector<Pair> messages;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    messages.push_back({static_cast<std::uint32_t>(steps[i].from.value()),
                        static_cast<std::uint32_t>(steps[i].to.value()), static_cast<double>(steps[i].bytes)});
    if (i + 1 < steps.size() && steps[i + 1].phase == steps[i].phase) continue;
    clock.advance(messages);
    messages.clear();
  }
  return clock.time_s();
}

}  // namespace conclave::sim
