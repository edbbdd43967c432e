// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/routing_census.hpp"

#include "gating/rule_table.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::train {

CharacterClass character_class(std::int32_t token) {
  switch (gating::byte_class(token)) {
    case gating::ByteClass::letter:
      return token < 'a' ? CharacterClass::upper : CharacterClass::lower;
    case gating::ByteClass::digit:
      return CharacterClass::digit;
    case gating::ByteClass::space:
      return CharacterClass::space;
    case gating::ByteClass::punctuation:
      return CharacterClass::punctuation;
    case gating::ByteClass::other:
      break;
  }
  return CharacterClass::other;
}

std::vector<Index> claims_of_experts(const std::vector<Index>& counts, Index experts) {
  std::vector<Index> claims(static_cast<std::size_t>(experts), 0);
  const std::size_t things = counts.size() / claims.size();
  for (std::size_t i = 0; i < counts.size(); ++i) claims[i / things] += counts[i];
  return claims;
}

std::vector<Index> counts_of_classes(const std::vector<Index>& tokens, Index experts) {
  std::vector<Index> classes(static_cast<std::size_t>(experts * num_character_classes), 0);
  const std::size_t vocabulary = tokens.size() / static_cast<std::size_t>(experts);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto kind = static_cast<std::size_t>(character_class(static_cast<std::int32_t>(i % vocabulary)));
    classes[i / vocabulary * static_cast<std::size_t>(num_character_classes) + kind] += tokens[i];
  }
  return classes;
}

std::vector<std::vector<Favourite>> favourites(const std::vector<Index>& counts, Index experts, Index most) {
  const std::size_t things = counts.size() / static_cast<std::size_t>(experts);
  const std::vector<Index> claims = claims_of_experts(counts, experts);
  std::vector<double> of_thing(things, 0.0);
  for (std::size_t i = 0; i < counts.size(); ++i) of_thing[i % things] += static_cast<double>(counts[i]);
  const double total = std::accumulate(of_thing.begin(), of_thing.end(), 0.0);
  std::vector<std::vector<Favourite>> result;
  for (std::size_t e = 0; e < claims.size(); ++e) {
    std::vector<std::pair<double, Favourite>> found;  // with the claims beyond the expected ones
    for (std::size_t thing = 0; thing < things; ++thing) {
      const Index count = counts[e * things + thing];
      if (count == 0) continue;
      const double expected = static_cast<double>(claims[e]) * of_thing[thing] / total;
      const double beyond = static_cast<double>(count) - expected;
      if (beyond <= 0.0) continue;
      found.push_back({beyond, {static_cast<Index>(thing), count, static_cast<double>(count) / expected}});
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    if (std::ssize(found) > most) found.resize(static_cast<std::size_t>(most));
    result.emplace_back();
    for (const auto& [beyond, favourite] : found) result.back().push_back(favourite);
  }
  return result;
}

RoutingCensus::RoutingCensus(Layers layers, Index experts, Index vocabulary, Index domains)
    : layers_(std::move(layers)), experts_(experts), vocabulary_(vocabulary), domains_(domains) {
  const LayerCensus none{std::vector<Index>(static_cast<std::size_t>(experts * vocabulary), 0),
                         std::vector<Index>(static_cast<std::size_t>(experts * domains), 0)};
  counts_.assign(layers_.size(), none);
}

void RoutingCensus::add_pass(const model::Step& step, const Batch& batch) {
  tokens_ += step.num_groups * step.groups.rows;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    for (Index g = 0; g < step.groups.num_groups; ++g) {
      for (const auto& kept : layers_[l]->routed(g).routing.kept()) {
        const auto row = static_cast<std::size_t>(step.groups.of(g).begin + kept.token);
        const Index token = batch.tokens[row];
        invariant(token >= 0 && token < vocabulary_, "token {} of a vocabulary of {}", token, vocabulary_);
        ++counts_[l].tokens[static_cast<std::size_t>(kept.expert.value() * vocabulary_ + token)];
        if (domains_ == 0) continue;
        ++counts_[l].domains[static_cast<std::size_t>(kept.expert.value() * domains_ + batch.domains[row])];
      }
    }
  }
}

void RoutingCensus::share(const comm::Communicator& communicator) {
  for (LayerCensus& layer : counts_) {
    communicator.sum(layer.tokens);
    if (domains_ > 0) communicator.sum(layer.domains);
  }
}

}  // namespace conclave::train
