// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/popularity.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/parse_number.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

constexpr std::string_view blanks = " \t\r\n,";

double weight_of(std::string_view word, std::string_view where) {
  const std::optional<double> weight = parse_number<double>(word);
  if (weight && std::isfinite(*weight) && *weight >= 0.0) return *weight;
  throw InputError(fmt::format("{}: '{}' is no weight", where, word), "a weight is a finite number, 0 or more");
}

std::vector<double> weights_of(std::string_view text, std::string_view where) {
  std::vector<double> weights;
  for (auto begin = text.find_first_not_of(blanks); begin != std::string_view::npos;) {
    const auto end = std::min(text.find_first_of(blanks, begin), text.size());
    weights.push_back(weight_of(text.substr(begin, end - begin), where));
    begin = text.find_first_not_of(blanks, end);
  }
  return weights;
}

}  // namespace

Popularity Popularity::uniform(Index num_ranks) {
  Popularity result(num_ranks);
  result.shares_.assign(static_cast<std::size_t>(num_ranks), 1.0 / static_cast<double>(num_ranks));
  return result;
}

Popularity Popularity::read(std::string_view text, Index num_ranks, std::string_view where) {
  Popularity result(num_ranks);
  result.shares_ = weights_of(text, where);
  const Index given = std::ssize(result.shares_);
  if (given != num_ranks && given != num_ranks * num_ranks) {
    throw InputError(fmt::format("{} has {} weights for {} ranks", where, given, num_ranks),
                     fmt::format("give {} weights, or {} lines of {}", num_ranks, num_ranks, num_ranks));
  }
  result.normalise(where);
  return result;
}

void Popularity::normalise(std::string_view where) {
  double all = 0.0;
  for (auto row = shares_.begin(); row != shares_.end(); row += num_ranks_) {
    double sum = 0.0;
    for (auto share = row; share != row + num_ranks_; ++share) sum += *share;
    if (!std::isfinite(sum))
      throw InputError(fmt::format("{}: weights that add up to {}", where, sum), "give smaller ones");
    all += sum;
    if (sum == 0.0) continue;
    for (auto share = row; share != row + num_ranks_; ++share) *share /= sum;
  }
  if (all == 0.0) throw InputError(fmt::format("{}: all weights are 0", where), "give at least one above 0");
}

std::vector<double> Popularity::received() const {
  const auto ranks = static_cast<std::size_t>(num_ranks_);
  std::vector<double> result(ranks, 0.0);
  for (std::size_t i = 0; i < shares_.size(); ++i) result[i % ranks] += shares_[i];
  const bool is_one_for_all = shares_.size() == ranks;
  if (is_one_for_all) {
    for (double& share : result) share *= static_cast<double>(num_ranks_);
  }
  return result;
}

Traffic Popularity::traffic(double bytes_per_rank) const {
  const auto ranks = static_cast<std::size_t>(num_ranks_);
  Traffic traffic(num_ranks_);
  if (shares_.size() == ranks) {
    traffic.add(TrafficTerm{std::vector<double>(ranks, bytes_per_rank), shares_});
    return traffic;
  }
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    if (shares_[i] == 0.0) continue;
    traffic.add(Pair{static_cast<std::uint32_t>(i / ranks), static_cast<std::uint32_t>(i % ranks),
                     bytes_per_rank * shares_[i]});
  }
  return traffic;
}

Popularity Popularity::capped(double factor) const {
  invariant(factor > 0.0, "capacity factor {}", factor);
  const std::vector<double> now = received();
  Popularity result = *this;
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    const double load = now[i % now.size()];
    if (load > factor) result.shares_[i] *= factor / load;
  }
  return result;
}

}  // namespace conclave::sim
