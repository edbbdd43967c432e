// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/routing_census.hpp"

#include "gating/rule_table.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>
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

namespace {

/// How often each expert serves each thing, if all served all alike. [experts, things]
std::vector<double> expected_counts(const std::vector<Index>& counts, Index experts) {
  const std::vector<Index> claims = claims_of_experts(counts, experts);
  const std::size_t things = counts.size() / claims.size();
  std::vector<double> of_thing(things, 0.0);
  for (std::size_t i = 0; i < counts.size(); ++i) of_thing[i % things] += static_cast<double>(counts[i]);
  const double total = std::accumulate(of_thing.begin(), of_thing.end(), 0.0);
  std::vector<double> expected;
  for (const Index claim : claims) {
    for (const double count : of_thing) expected.push_back(static_cast<double>(claim) * count / total);
  }
  return expected;
}

}  // namespace

std::vector<double> lifts(const std::vector<Index>& counts, Index experts) {
  std::vector<double> result = expected_counts(counts, experts);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    result[i] = result[i] > 0.0 ? static_cast<double>(counts[i]) / result[i] : std::nan("");
  }
  return result;
}

std::vector<std::vector<Favourite>> favourites(const std::vector<Index>& counts, Index experts, Index most) {
  const std::vector<double> expected = expected_counts(counts, experts);
  const std::size_t things = counts.size() / static_cast<std::size_t>(experts);
  std::vector<std::vector<Favourite>> result;
  for (std::size_t e = 0; e < static_cast<std::size_t>(experts); ++e) {
    std::vector<std::pair<double, Favourite>> found;  // with the claims beyond the expected ones
    for (std::size_t thing = 0; thing < things; ++thing) {
      const Index count = counts[e * things + thing];
      const double beyond = static_cast<double>(count) - expected[e * things + thing];
      if (count == 0 || beyond <= 0.0) continue;
      const double lift = static_cast<double>(count) / expected[e * things + thing];
      found.push_back({beyond, {static_cast<Index>(thing), count, lift}});
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    if (std::ssize(found) > most) found.resize(static_cast<std::size_t>(most));
    result.emplace_back();
    for (const auto& [beyond, favourite] : found) result.back().push_back(favourite);
  }
  return result;
}

void count_claims(const model::MoeLayer<float>& layer, const model::Step& step, std::span<const std::int32_t> things,
                  std::vector<Index>& counts) {
  const Index num_things = std::ssize(counts) / layer.map().num_experts();
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    for (const auto& kept : layer.routed(g).routing.kept()) {
      const Index thing = things[static_cast<std::size_t>(step.groups.of(g).begin + kept.token)];
      invariant(thing >= 0 && thing < num_things, "thing {} of {}", thing, num_things);
      ++counts[static_cast<std::size_t>(kept.expert.value() * num_things + thing)];
    }
  }
}

RoutingCensus::RoutingCensus(Layers layers, Index experts, Index vocabulary, Index domains)
    : layers_(std::move(layers)), experts_(experts) {
  const LayerCensus none{std::vector<Index>(static_cast<std::size_t>(experts * vocabulary), 0),
                         std::vector<Index>(static_cast<std::size_t>(experts * domains), 0)};
  counts_.assign(layers_.size(), none);
}

void RoutingCensus::add_pass(const model::Step& step, const Batch& batch) {
  tokens_ += step.num_groups * step.groups.rows;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    count_claims(*layers_[l], step, batch.tokens, counts_[l].tokens);
    if (!counts_[l].domains.empty()) count_claims(*layers_[l], step, batch.domains, counts_[l].domains);
  }
}

void RoutingCensus::share(const comm::Communicator& communicator) {
  for (LayerCensus& layer : counts_) {
    communicator.sum(layer.tokens);
    if (!layer.domains.empty()) communicator.sum(layer.domains);
  }
}

}  // namespace conclave::train
