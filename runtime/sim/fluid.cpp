// SPDX-License-Identifier: BSD-3-Clause
// Progressive filling (Bertsekas and Gallager, Data Networks, 2nd ed., 6.5.2): all rates grow together; when a resource
// is full, its flows keep the rate they have, and the others grow on. It costs O(sum of route lengths). It is done
// again only when an end of flows gives somebody more: while every flow that is left has a full resource on which
// nobody is faster, its rate stays (the bottleneck condition, same place).
#include "runtime/sim/fluid.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>

namespace conclave::sim {
namespace {

using Flow = std::uint32_t;

constexpr double infinity = std::numeric_limits<double>::infinity();
// Rates that differ by less, relative to one another or to a bandwidth, are the same rate: rounding.
constexpr double rounding = 1e-9;
// Ends that differ by less, relative to the time that has passed, are one.
constexpr double same_time = 1e-12;

class FluidRun {
 public:
  FluidRun(const Network& network, const Traffic& traffic, double rates);
  [[nodiscard]] FluidTime run();

 private:
  struct Resource {
    double capacity = 0.0;  // [bytes/s]
    double boost = 0.0;     // [bytes/s] beside it, until boosted_until_s_
    double spare = 0.0;     // [bytes] not used in the window that has passed
    double left = 0.0;      // [bytes/s] that no flow has
    double fastest = 0.0;   // [bytes/s] the largest rate of its flows, when rates were computed
    Index unsettled = 0;    // flows whose rate is not yet known, while rates are computed
    Index active = 0;       // flows that have started and not ended
    bool full = false;
    std::vector<Flow> flows{};  // all that were seen not to have ended
  };

  [[nodiscard]] std::span<const std::uint32_t> route(Flow f) const {
    return {routes_.data() + first_hop_[f], routes_.data() + first_hop_[f + 1]};
  }
  [[nodiscard]] bool is_active(Flow f) const { return rate_[f] >= 0.0; }

  [[nodiscard]] double window_s();
  void start_flows();
  void settle_bytes();
  void fill();
  void settle(std::uint32_t resource, double rate);
  void end_flows_until(double end_s, bool is_window);
  void boost();
  [[nodiscard]] bool leaves_rates_as_they_are();
  [[nodiscard]] bool has_other_bottleneck(Flow f);

  double rates_;       // that may be computed
  double rates_left_;  // of them
  double now_s_ = 0.0;
  double rates_since_s_ = 0.0;  // when rates were computed last
  double boosted_until_s_ = infinity;
  FluidTime result_;

  std::vector<double> bytes_;  // left when rates were computed, [flows]
  std::vector<double> rate_;   // [bytes/s]; waiting: not started, ended: through
  std::vector<double> end_s_;  // at this rate
  std::vector<std::uint32_t> bottleneck_;
  std::vector<std::uint32_t> first_hop_;  // [flows + 1] of each flow's route
  std::vector<std::uint32_t> routes_;
  std::map<double, std::vector<Flow>> starts_;  // by latency [s]
  std::vector<Flow> active_;
  double first_end_s_ = infinity;  // of the active flows
  std::vector<Resource> resources_;
  std::vector<std::uint32_t> loosened_;  // resources that were full until the flows ended that have just ended

  static constexpr double waiting = -1.0;
  static constexpr double ended = -2.0;
};

FluidRun::FluidRun(const Network& network, const Traffic& traffic, double rates)
    : rates_(rates),
      rates_left_(rates),
      result_{.bound = bound_of(network, traffic)},
      resources_(static_cast<std::size_t>(network.num_resources())) {
  for (std::size_t r = 0; r < resources_.size(); ++r) {
    resources_[r].capacity = network.capacity_Bps(static_cast<Index>(r));
  }
  const auto most = static_cast<std::size_t>(traffic.most_flows());
  bytes_.reserve(most);
  first_hop_.reserve(most + 1);
  first_hop_.push_back(0);
  std::vector<Index> hops;
  traffic.for_each([&](const Pair& pair) {
    const RankId from{pair.from};
    const RankId to{pair.to};
    network.route(from, to, hops);
    for (const Index resource : hops) routes_.push_back(static_cast<std::uint32_t>(resource));
    first_hop_.push_back(static_cast<std::uint32_t>(routes_.size()));
    starts_[network.latency_s(from, to)].push_back(static_cast<Flow>(bytes_.size()));
    bytes_.push_back(pair.bytes);
  });
  rate_.assign(bytes_.size(), waiting);
  end_s_.assign(bytes_.size(), infinity);
  bottleneck_.assign(bytes_.size(), 0);
  result_.num_flows = std::ssize(bytes_);
}

FluidTime FluidRun::run() {
  while (!active_.empty() || !starts_.empty()) {
    const double next_start_s = starts_.empty() ? infinity : starts_.begin()->first;
    const double next_s = std::min(next_start_s, boosted_until_s_);
    if (next_s > first_end_s_) {
      const double window = window_s();
      end_flows_until(std::min(first_end_s_ * (1.0 + same_time) + window, next_s), window > 0.0);
      if (window == 0.0 && leaves_rates_as_they_are()) continue;
    } else {
      now_s_ = next_s;
    }
    settle_bytes();
    if (now_s_ == next_start_s) start_flows();
    boost();
    fill();
  }
  return result_;
}

// Where the rates that are left are enough for every flow's end by itself, ends are exact. Else the rest of the time is
// cut so that they are enough; time and rates are both taken not to be quite at their end.
double FluidRun::window_s() {
  const auto flows = static_cast<double>(active_.size());
  if (0.5 * flows * flows <= rates_left_) return 0.0;
  const double bound_s = result_.bound.time_s;
  const double time_left_s = std::max(bound_s - now_s_, 1e-2 * bound_s);
  const double window_s = std::min(time_left_s * flows / std::max(rates_left_, rates_ / 16.0), 2e-2 * bound_s);
  result_.window_s = std::max(result_.window_s, window_s);
  return window_s;
}

void FluidRun::start_flows() {
  for (const Flow f : starts_.begin()->second) {
    rate_[f] = 0.0;
    active_.push_back(f);
    for (const std::uint32_t r : route(f)) {
      ++resources_[r].active;
      resources_[r].flows.push_back(f);
    }
  }
  starts_.erase(starts_.begin());
}

// What has gone through since rates were computed.
void FluidRun::settle_bytes() {
  for (const Flow f : active_) bytes_[f] = std::max(0.0, bytes_[f] - rate_[f] * (now_s_ - rates_since_s_));
  rates_since_s_ = now_s_;
}

void FluidRun::fill() {
  ++result_.num_fillings;
  rates_left_ -= static_cast<double>(active_.size() + resources_.size() / 4);
  using Share = std::pair<double, std::uint32_t>;
  std::vector<Share> shares;
  for (std::uint32_t r = 0; r < resources_.size(); ++r) {
    Resource& resource = resources_[r];
    resource.left = resource.capacity + resource.boost;
    resource.unsettled = resource.active;
    resource.fastest = 0.0;
    if (resource.active > 0) shares.emplace_back(resource.left / static_cast<double>(resource.active), r);
  }
  for (const Flow f : active_) rate_[f] = 0.0;
  // Shares only grow while flows are settled, so an outdated one is looked at too early, never too late.
  std::priority_queue<Share, std::vector<Share>, std::greater<>> queue(std::greater<>{}, std::move(shares));
  double level = 0.0;  // the rate that all unsettled flows have reached
  while (!queue.empty()) {
    const auto [share, r] = queue.top();
    queue.pop();
    const Resource& resource = resources_[r];
    if (resource.unsettled == 0) continue;
    const double now = std::max(level, resource.left / static_cast<double>(resource.unsettled));
    if (now > share * (1.0 + same_time)) {
      queue.emplace(now, r);
      continue;
    }
    level = now;
    settle(r, level);
  }
  first_end_s_ = infinity;
  for (const Flow f : active_) {
    end_s_[f] = now_s_ + bytes_[f] / rate_[f];
    first_end_s_ = std::min(first_end_s_, end_s_[f]);
  }
  for (Resource& resource : resources_) {
    resource.full = resource.active > 0 && resource.left <= rounding * resource.capacity;
  }
}

// Gives the resource's unsettled flows their rate, and forgets those of its flows that have ended.
void FluidRun::settle(std::uint32_t resource, double rate) {
  std::vector<Flow>& flows = resources_[resource].flows;
  std::size_t kept = 0;
  for (const Flow f : flows) {
    if (!is_active(f)) continue;
    flows[kept++] = f;
    if (rate_[f] > 0.0) continue;
    rate_[f] = rate;
    bottleneck_[f] = resource;
    for (const std::uint32_t r : route(f)) {
      resources_[r].left -= rate;
      resources_[r].fastest = rate;
      --resources_[r].unsettled;
    }
  }
  flows.resize(kept);
}

// In a window, time goes on to its end, and what flows that ended before leave unused until then is put aside.
void FluidRun::end_flows_until(double end_s, bool is_window) {
  loosened_.clear();
  std::size_t kept = 0;
  first_end_s_ = infinity;
  for (const Flow f : active_) {
    if (end_s_[f] > end_s) {
      active_[kept++] = f;
      first_end_s_ = std::min(first_end_s_, end_s_[f]);
      continue;
    }
    result_.time_s = std::max(result_.time_s, end_s_[f]);
    for (const std::uint32_t r : route(f)) {
      Resource& resource = resources_[r];
      --resource.active;
      resource.left += rate_[f];
      if (is_window) resource.spare += rate_[f] * (end_s - end_s_[f]);
      if (resource.full) loosened_.push_back(r);
      resource.full = false;
    }
    rate_[f] = ended;
  }
  active_.resize(kept);
  now_s_ = is_window ? end_s : result_.time_s;
}

// What was put aside in a window is given out in one as long that follows, so that it is not lost: no resource carries
// more than its bandwidth from the beginning on, and flows wait a window for it at most.
void FluidRun::boost() {
  const double left_s = std::isfinite(boosted_until_s_) ? boosted_until_s_ - now_s_ : 0.0;
  const double window = window_s();
  bool is_any = false;
  for (Resource& resource : resources_) {
    const double bytes = resource.spare + resource.boost * left_s;
    resource.boost = window > 0.0 && bytes > 0.0 ? bytes / window : 0.0;
    resource.spare = 0.0;
    is_any = is_any || resource.boost > 0.0;
  }
  boosted_until_s_ = is_any ? now_s_ + window : infinity;
}

bool FluidRun::leaves_rates_as_they_are() {
  for (const std::uint32_t r : loosened_) {
    if (resources_[r].active == 0) continue;
    for (const Flow f : resources_[r].flows) {
      if (is_active(f) && bottleneck_[f] == r && !has_other_bottleneck(f)) return false;
    }
  }
  return true;
}

bool FluidRun::has_other_bottleneck(Flow f) {
  for (const std::uint32_t r : route(f)) {
    if (!resources_[r].full || resources_[r].fastest > rate_[f] * (1.0 + rounding)) continue;
    bottleneck_[f] = r;
    return true;
  }
  return false;
}

}  // namespace

Index most_hops(const Network& network, const Traffic& traffic) { return traffic.most_flows() * network.most_hops(); }

FluidTime fluid_of(const Network& network, const Traffic& traffic, double rates) {
  invariant(rates > 0.0, "{} rates of flows", rates);
  if (traffic.most_flows() > most_fluid_flows || most_hops(network, traffic) > most_fluid_hops) {
    throw InputError(fmt::format("{} flows over up to {} resources each in the tier fluid", traffic.most_flows(),
                                 network.most_hops()),
                     fmt::format("it takes up to {} flows and {} of both multiplied: use the tier bound",
                                 most_fluid_flows, most_fluid_hops));
  }
  return FluidRun(network, traffic, rates).run();
}

}  // namespace conclave::sim
