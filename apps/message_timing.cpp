// SPDX-License-Identifier: BSD-3-Clause
#include "apps/message_timing.hpp"

#include "comm/mpi/messages.hpp"
#include "comm/mpi/node_room.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/matrix.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

namespace conclave::apps {
namespace {

constexpr int tag = 0;  // of communicators that nobody else has

// 1, 2, 3, 4, 6, 8, 12 and so on: so that the size at which the library changes its ways is known to a half.
std::vector<Index> message_sizes(double largest_bytes) {
  std::vector<Index> sizes;
  for (Index power = 1; static_cast<double>(power) <= largest_bytes; power *= 2) {
    sizes.push_back(power);
    if (power >= 2 && 1.5 * static_cast<double>(power) <= largest_bytes) sizes.push_back(power + power / 2);
  }
  return sizes;
}

// Seconds of one of as many calls as fill the budget's time, the median of some timings. The slowest rank's, so that
// all make as many calls. Collective.
double seconds_of(const comm::Communicator& ranks, const TransferBudget& budget, const std::function<void()>& call) {
  constexpr double most_calls = 20000.0;
  const auto timed = [&](Index calls) {
    ranks.barrier();
    const Clock::time_point start = Clock::now();
    for (Index i = 0; i < calls; ++i) call();
    return ranks.max(seconds_since(start) / static_cast<double>(calls));
  };
  timed(1);  // connections are made, pages touched
  const double first_s = timed(3);
  const auto calls = static_cast<Index>(std::clamp(budget.seconds / std::max(first_s, 1e-9), 1.0, most_calls));
  std::vector<double> seconds;
  for (Index i = 0; i < budget.repeats; ++i) seconds.push_back(timed(calls));
  return sim::quantile(std::move(seconds), 0.5);
}

/// Places in a memory, one behind the other and then from the front again: a step's rows are not where the last ones
/// were, and no longer in the nearest cache.
class Places {
 public:
  Places(double largest_bytes, Index times) : size_(times * static_cast<Index>(largest_bytes)) {}
  [[nodiscard]] Index size() const { return size_; }
  /// Where so many bytes may lie.
  Index next(Index bytes) {
    if (begin_ + bytes > size_) begin_ = 0;
    return std::exchange(begin_, begin_ + bytes);
  }

 private:
  Index size_;
  Index begin_ = 0;
};
constexpr Index times_largest = 16;

/// Messages between the two ranks of a communicator.
class Pair {
 public:
  Pair(const comm::Communicator& ranks, double largest_bytes)
      : ranks_(ranks), places_(largest_bytes, times_largest), out_(1, places_.size()), in_(1, places_.size()) {
    out_.fill(std::byte{1});
    in_.fill(std::byte{0});
  }

  /// So many messages each way, all at once: each rank copies out and in.
  void exchange(Index messages, Index bytes) {
    comm::Messages all(ranks_, tag);
    post(messages, bytes, all);
    all.wait();
  }

  void post(Index messages, Index bytes, comm::Messages& all) {
    const Index begin = places_.next(messages * bytes);
    for (Index i = 0; i < messages; ++i) all.send(peer(), out_.data() + begin + i * bytes, bytes, byte_);
    for (Index i = 0; i < messages; ++i) all.receive(peer(), in_.data() + begin + i * bytes, bytes, byte_);
  }

  [[nodiscard]] const comm::Communicator& ranks() const { return ranks_; }

 private:
  [[nodiscard]] RankId peer() const { return RankId{1 - ranks_.rank().value()}; }

  const comm::Communicator& ranks_;
  comm::RowType byte_{1, comm::mpi_type<std::byte>()};
  Places places_;
  Matrix<std::byte> out_, in_;  // [1, bytes]
};

// The last rank of rank 0's node, or of the last node; rank 0 where there is none.
RankId partner(const plan::Topology& topology, plan::Level level) {
  const NodeId own = topology.node(RankId{0});
  RankId last{0};
  for (RankId rank{1}; rank < RankId{topology.num_ranks()}; ++rank) {
    if ((topology.node(rank) == own) == (level == plan::Level::node)) last = rank;
  }
  return last;
}

/// Products of matrices that a near cache holds, one after another, as experts have them.
class Products {
 public:
  Products() : x_(size, size), w_(size, size), y_(size, size) {
    x_.fill(1.0F);
    w_.fill(1.0F);
  }
  void next() { gemm_nt<float>(x_.view(), w_.view(), 0.0F, y_.view()); }

 private:
  static constexpr Index size = 128;
  Matrix<float> x_, w_, y_;
};

// By how much longer this rank computes while messages are under way for which it asks between two products.
double lost_s(Pair& pair, Index messages, Index bytes, Products& products) {
  constexpr Index undisturbed = 64;
  pair.ranks().barrier();
  const Clock::time_point alone = Clock::now();
  for (Index i = 0; i < undisturbed; ++i) products.next();
  const double product_s = seconds_since(alone) / static_cast<double>(undisturbed);
  pair.ranks().barrier();
  const Clock::time_point start = Clock::now();
  comm::Messages all(pair.ranks(), tag);
  pair.post(messages, bytes, all);
  Index count = 0;
  do {
    products.next();
    ++count;
  } while (!all.test());
  return seconds_since(start) - product_s * static_cast<double>(count);
}

// Over the bytes that a rank sends and receives, of large messages.
sim::Fitted time_busy_byte(Pair& pair, const TransferBudget& budget) {
  constexpr Index at_once = 4;
  constexpr double interval = 0.9;
  Products products;
  std::vector<double> per_byte;
  for (double bytes = budget.largest_bytes; bytes >= budget.largest_bytes / 16.0; bytes /= 4.0) {
    const auto count = static_cast<Index>(bytes);
    const double both_ways = 2.0 * static_cast<double>(at_once * count);
    static_cast<void>(lost_s(pair, at_once, count, products));
    for (Index i = 0; i < budget.repeats; ++i) {
      per_byte.push_back(std::max(0.0, pair.ranks().max(lost_s(pair, at_once, count, products)) / both_ways));
    }
  }
  const auto at = [&](double share) { return sim::quantile(per_byte, share); };
  return {at(0.5), at(0.5 * (1.0 - interval)), at(0.5 * (1.0 + interval))};
}

MessageFit measured(const comm::Communicator& ranks, const TransferBudget& budget) {
  constexpr Index small_bytes = 64;
  constexpr Index most_at_once = 64;
  Pair pair(ranks, std::max(budget.largest_bytes, static_cast<double>(small_bytes * most_at_once)));
  std::vector<sim::Observation> bursts;
  for (Index messages = 1; messages <= most_at_once; messages *= 2) {
    const double seconds = seconds_of(ranks, budget, [&] { pair.exchange(messages, small_bytes); });
    // Each rank sends and receives so many.
    bursts.push_back({{1.0, 2.0 * static_cast<double>(messages), 0.0}, seconds});
  }
  sim::FitOptions names;
  names.names = {"exchanges", "messages", ""};
  const sim::TermsFit posts = sim::fit_terms(bursts, names);
  // One message each way, but for what the two take a rank's own time anyway.
  const double own_s = 2.0 * posts.costs[1].value;
  std::vector<sim::Transfer> trips;
  for (const Index bytes : message_sizes(budget.largest_bytes)) {
    const double seconds = seconds_of(ranks, budget, [&] { pair.exchange(1, bytes); });
    trips.push_back({static_cast<double>(bytes), std::max(seconds - own_s, 0.1 * seconds)});
  }
  const sim::KneeFit knee = sim::fit_knee(trips);
  return {{knee.below, knee.above, knee.from_bytes, posts.costs[1], time_busy_byte(pair, budget)}, knee.residuals};
}

/// The ranks of a node and the memory in which each has room for what its neighbour writes.
class Neighbours {
 public:
  Neighbours(const comm::Communicator& node, double largest_bytes)
      : node_(node), room_(node), places_(largest_bytes, times_largest), rows_(1, places_.size()) {
    rows_.fill(std::byte{1});
    write(node_.size(), places_.size());  // all pages are touched before anything is timed
  }

  /// The first `writers` ranks write so many bytes into their neighbours' memory, and all wait until that is done.
  void write(Index writers, Index bytes) {
    room_.publish({});
    const std::vector<Index> needed(static_cast<std::size_t>(node_.size()), places_.size());
    room_.make_room(needed);
    const Index own = node_.rank().value();
    const Index begin = places_.next(bytes);
    if (own < writers) {
      std::memcpy(room_.rows((own + 1) % node_.size()) + begin, rows_.data() + begin, static_cast<std::size_t>(bytes));
    }
    room_.signal_written();
    comm::wait_until(node_, [&] { return room_.all_have_written(); });
  }

 private:
  const comm::Communicator& node_;
  comm::NodeRoom room_;
  Places places_;
  Matrix<std::byte> rows_;  // [1, bytes]
};

sim::LineFit written(const comm::Communicator& node, const TransferBudget& budget, Neighbours& neighbours,
                     Index writers) {
  std::vector<sim::Transfer> copies;
  for (double bytes = 0.0; bytes <= budget.largest_bytes; bytes = bytes == 0.0 ? 1024.0 : 4.0 * bytes) {
    const auto count = static_cast<Index>(bytes);
    copies.push_back({bytes, seconds_of(node, budget, [&] { neighbours.write(writers, count); })});
  }
  return sim::fit_line(copies);
}

}  // namespace

std::optional<MessageFit> time_messages(const comm::Communicator& world, plan::Level level,
                                        const TransferBudget& budget) {
  const RankId other = partner(world.topology(), level);
  if (other == RankId{0}) return std::nullopt;
  const bool takes_part = world.is_root() || world.rank() == other;
  std::optional<MessageFit> fit;
  {
    const comm::Communicator pair = world.split(takes_part ? 0 : -1);
    if (takes_part) fit = measured(pair, budget);
  }
  world.idle_barrier();
  return fit;
}

std::optional<SharedMemoryFit> time_shared_memory(const comm::Communicator& world, const TransferBudget& budget) {
  const plan::Topology topology = world.topology();
  const NodeId own = topology.node(RankId{0});
  if (topology.ranks(own).size() < 2) return std::nullopt;
  const bool takes_part = topology.node(world.rank()) == own;
  std::optional<SharedMemoryFit> fit;
  {
    const comm::Communicator node = world.split(takes_part ? 0 : -1);
    if (takes_part) {
      Neighbours neighbours(node, budget.largest_bytes);
      const sim::LineFit all = written(node, budget, neighbours, node.size());
      const sim::LineFit one = written(node, budget, neighbours, 1);
      fit = SharedMemoryFit{{all.line.latency_s, all.line.Bps}, {one.line.latency_s, one.line.Bps}, all.residuals};
    }
  }
  world.idle_barrier();
  return fit;
}

}  // namespace conclave::apps
