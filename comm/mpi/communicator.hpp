// SPDX-License-Identifier: BSD-3-Clause
// A communicator of our own, with errors returned and checked, and the few collectives the runtime needs.
#pragma once

#include "comm/mpi/datatype.hpp"
#include "comm/plan/exchange_shape.hpp"
#include "comm/plan/topology.hpp"

#include <span>
#include <string>
#include <vector>

namespace conclave::comm {

/// Move-only; made by duplication or splitting, freed with the object. Rank and size are known without a call. All
/// collectives are to be entered by all ranks in the same order. Sums are of integers only: floating-point sums are
/// taken in the fixed tree (reproducible_reduce.hpp), never in rank order.
class Communicator {
 public:
  /// A duplicate of MPI_COMM_WORLD. MPI must be initialised (environment.hpp).
  [[nodiscard]] static Communicator world();
  [[nodiscard]] Communicator duplicate() const;
  /// The ranks that gave the same colour, in this communicator's order. A negative colour leaves the rank out: it gets
  /// an empty communicator (size 0, rank -1), which nothing may be called on.
  [[nodiscard]] Communicator split(Index colour) const;

  Communicator(Communicator&& other) noexcept;
  Communicator& operator=(Communicator&& other) noexcept;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator();

  [[nodiscard]] RankId rank() const { return rank_; }
  [[nodiscard]] Index size() const { return size_; }
  [[nodiscard]] bool is_root() const { return rank_ == RankId{0}; }
  [[nodiscard]] MPI_Comm handle() const { return comm_; }
  /// Which ranks share a node. Collective.
  [[nodiscard]] plan::Topology topology() const;

  void barrier() const;
  /// A barrier for ranks with nothing to do, which must not take time from those that have: sleeps between looks.
  void idle_barrier() const;
  /// Element-wise sums over all ranks, in place.
  void sum(std::span<std::int64_t> values) const;
  [[nodiscard]] std::int64_t sum(std::int64_t value) const;
  [[nodiscard]] std::uint64_t sum_modulo(std::uint64_t value) const;  // modulo 2^64
  [[nodiscard]] std::int64_t max(std::int64_t value) const;
  [[nodiscard]] std::int64_t min(std::int64_t value) const;
  [[nodiscard]] double max(double value) const;
  /// True if `value` is true on any (every) rank.
  [[nodiscard]] bool any(bool value) const { return max(std::int64_t{value}) != 0; }
  [[nodiscard]] bool all(bool value) const { return !any(!value); }

  /// Root's values, on every rank. The string's length need not be known to the others.
  template <class T>
  void broadcast(std::span<T> values, RankId root = RankId{0}) const;
  [[nodiscard]] std::string broadcast(std::string text, RankId root = RankId{0}) const;

  /// All ranks' values one after another, in rank order, on every rank. Ranks may give different numbers, or none.
  /// MpiError on every rank if there are more than 2^31 - 1 of them together; so for the other gathers.
  template <class T>
  [[nodiscard]] std::vector<T> gather_all(std::span<const T> values) const;
  /// As gather_all where every rank knows who has what: rank r's values are range_of_rank[r] of `all`, and this rank's
  /// stand there already.
  template <class T>
  void gather_all_in_place(std::span<T> all, const std::vector<Range>& range_of_rank) const;
  /// Every rank's text, in rank order, on every rank.
  [[nodiscard]] std::vector<std::string> gather_all(const std::string& text) const;

  /// values[p * each + i] goes to rank p; returned likewise by source. `each` is the same on all ranks.
  [[nodiscard]] std::vector<std::int64_t> all_to_all(std::span<const std::int64_t> values) const;
  /// A number of values that differs by peer, both sides known.
  [[nodiscard]] std::vector<std::int64_t> all_to_all(std::span<const std::int64_t> values,
                                                     const plan::ExchangeShape& shape) const;

  /// If any rank has an error text, throws InputError on every rank: the lowest such rank's text and hint, which rank
  /// it was and how many ranks had one. Every rank must call it. How ranks agree on the outcome of something that may
  /// fail on one of them only.
  void agree(const std::string& error, const std::string& hint = {}) const;

 private:
  explicit Communicator(MPI_Comm comm);
  MPI_Comm comm_ = MPI_COMM_NULL;
  RankId rank_{-1};
  Index size_ = 0;
};

}  // namespace conclave::comm
