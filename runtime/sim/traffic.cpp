// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/traffic.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace conclave::sim {
namespace {

bool comes_before(const Pair& a, const Pair& b) { return std::tie(a.from, a.to) < std::tie(b.from, b.to); }

bool is_amount(double bytes) { return std::isfinite(bytes) && bytes >= 0.0; }

}  // namespace

Traffic Traffic::uniform(Index num_ranks, double bytes_per_rank) {
  Traffic traffic(num_ranks);
  const double share = 1.0 / static_cast<double>(num_ranks);
  traffic.add(
      TrafficTerm{std::vector<double>(at(num_ranks), bytes_per_rank), std::vector<double>(at(num_ranks), share)});
  return traffic;
}

void Traffic::add(TrafficTerm term) {
  invariant(std::ssize(term.sent) == num_ranks_ && std::ssize(term.popularity) == num_ranks_,
            "a term of {} and {} ranks for {}", term.sent.size(), term.popularity.size(), num_ranks_);
  invariant(term.block >= 0 && (term.block == 0 || num_ranks_ % term.block == 0), "blocks of {} of {} ranks",
            term.block, num_ranks_);
  for (const std::vector<double>* values : {&term.sent, &term.popularity}) {
    for (const double value : *values) invariant(is_amount(value), "traffic of {} bytes", value);
  }
  terms_.push_back(std::move(term));
}

// Mostly in order: then it costs nothing to keep it.
void Traffic::add(Pair pair) {
  invariant(pair.from < num_ranks_ && pair.to < num_ranks_ && is_amount(pair.bytes),
            "{} bytes from rank {} to rank {} of {}", pair.bytes, pair.from, pair.to, num_ranks_);
  const auto place = pairs_.empty() || comes_before(pairs_.back(), pair)
                         ? pairs_.end()
                         : std::lower_bound(pairs_.begin(), pairs_.end(), pair, comes_before);
  if (place != pairs_.end() && !comes_before(pair, *place)) {
    place->bytes += pair.bytes;
  } else {
    pairs_.insert(place, pair);
  }
}

double Traffic::bytes_of_terms(Index from, Index to) const {
  double sum = 0.0;
  for (const TrafficTerm& term : terms_) {
    if (term.block == 0 || from / term.block == to / term.block) sum += term.sent[at(from)] * term.popularity[at(to)];
  }
  return sum;
}

double Traffic::bytes(RankId from, RankId to) const {
  if (from == to) return 0.0;
  const double sum = bytes_of_terms(from.value(), to.value());
  const Pair key{static_cast<std::uint32_t>(from.value()), static_cast<std::uint32_t>(to.value()), 0.0};
  const auto place = std::lower_bound(pairs_.begin(), pairs_.end(), key, comes_before);
  return place != pairs_.end() && !comes_before(key, *place) ? sum + place->bytes : sum;
}

double Traffic::total_bytes() const {
  double sum = 0.0;
  for (const TrafficTerm& term : terms_) {
    // Everything but the rank's own share, as what is before it and what is after it: a difference from all of it would
    // be nothing but rounding where one rank is much more popular than the others.
    const std::size_t block = term.block == 0 ? term.sent.size() : at(term.block);
    for (std::size_t begin = 0; begin < term.sent.size(); begin += block) {
      double before = 0.0;
      double after = 0.0;
      for (std::size_t i = begin, j = begin + block; j-- > begin; ++i) {
        sum += term.sent[i] * before + term.sent[j] * after;
        before += term.popularity[i];
        after += term.popularity[j];
      }
    }
  }
  for (const Pair& pair : pairs_) sum += pair.from == pair.to ? 0.0 : pair.bytes;
  return sum;
}

Index Traffic::most_flows() const { return terms_.empty() ? std::ssize(pairs_) : num_ranks_ * (num_ranks_ - 1); }

void Traffic::for_each_from(std::uint32_t from, std::span<const Pair> row, FunctionRef<void(const Pair&)> body) const {
  if (terms_.empty()) {
    for (const Pair& pair : row) {
      if (pair.to != from && pair.bytes > 0.0) body(pair);
    }
    return;
  }
  auto next = row.begin();
  for (std::uint32_t to = 0; to < num_ranks_; ++to) {
    Pair pair{from, to, bytes_of_terms(from, to)};
    if (next != row.end() && next->to == to) pair.bytes += (next++)->bytes;
    if (to != from && pair.bytes > 0.0) body(pair);
  }
}

void Traffic::for_each(FunctionRef<void(const Pair&)> body) const {
  auto row = pairs_.begin();
  for (std::uint32_t from = 0; from < num_ranks_; ++from) {
    const auto end = std::find_if(row, pairs_.end(), [&](const Pair& pair) { return pair.from != from; });
    for_each_from(from, {row, end}, body);
    row = end;
  }
}

Traffic Traffic::transposed() const {
  Traffic result(num_ranks_);
  for (const TrafficTerm& term : terms_) result.terms_.push_back({term.popularity, term.sent, term.block});
  for (const Pair& pair : pairs_) result.pairs_.push_back({pair.to, pair.from, pair.bytes});
  std::sort(result.pairs_.begin(), result.pairs_.end(), comes_before);
  return result;
}

Traffic Traffic::scaled(double factor) const {
  invariant(is_amount(factor), "traffic times {}", factor);
  Traffic result = *this;
  for (TrafficTerm& term : result.terms_) {
    for (double& value : term.sent) value *= factor;
  }
  for (Pair& pair : result.pairs_) pair.bytes *= factor;
  return result;
}

Traffic Traffic::as_pairs() const {
  Traffic result(num_ranks_);
  for_each([&](const Pair& pair) { result.add(pair); });
  return result;
}

}  // namespace conclave::sim
