// SPDX-License-Identifier: BSD-3-Clause
// Which experts serve which tokens: counts of an evaluation.
#pragma once

#include "runtime/model/moe_layer.hpp"
#include "runtime/train/batch.hpp"
#include "runtime/train/information.hpp"

namespace conclave::train {

/// What kind of character a byte is: as gating::byte_class, with letters in two.
enum class CharacterClass : std::uint8_t { lower, upper, digit, space, punctuation, other };

inline constexpr std::array<EnumName<CharacterClass>, 6> enum_names(CharacterClass) {
  return {{{CharacterClass::lower, "lower"},
           {CharacterClass::upper, "upper"},
           {CharacterClass::digit, "digit"},
           {CharacterClass::space, "space"},
           {CharacterClass::punctuation, "punctuation"},
           {CharacterClass::other, "other"}}};
}
inline constexpr Index num_character_classes = 6;
[[nodiscard]] CharacterClass character_class(std::int32_t token);

/// Counts of claims that were served, one table of each kind an MoE layer. A token with two experts counts twice.
struct LayerCensus {
  std::vector<Index> tokens;   // [experts, vocabulary]
  std::vector<Index> domains;  // [experts, domains], or empty: the data has no known domains
};

/// One thing that an expert serves more often than its share of all claims lets expect.
struct Favourite {
  Index what = 0;     // a token or a domain
  Index count = 0;    // claims of it that the expert serves
  double lift = 0.0;  // its share of the expert's claims over its share of all claims
};

/// The tables by which a census is read; counts are [experts, things].
[[nodiscard]] std::vector<Index> claims_of_experts(const std::vector<Index>& counts, Index experts);
/// tokens: [experts, vocabulary]; the result is [experts, num_character_classes].
[[nodiscard]] std::vector<Index> counts_of_classes(const std::vector<Index>& tokens, Index experts);
/// Of each expert and thing the thing's share of the expert's claims over its share of all; not a number where either
/// has none. [experts, things]
[[nodiscard]] std::vector<double> lifts(const std::vector<Index>& counts, Index experts);
/// Of each expert at most `most` things that it serves beyond their share, those first that it serves most claims of
/// beyond what the share lets expect; of equals the one with the lower number. [experts]
[[nodiscard]] std::vector<std::vector<Favourite>> favourites(const std::vector<Index>& counts, Index experts,
                                                             Index most);

/// counts[expert, thing] += the claims that the layer's last forward served of this rank's tokens. things: what each
/// of them is, below the number of things.
void count_claims(const model::MoeLayer<float>& layer, const model::Step& step, std::span<const std::int32_t> things,
                  std::vector<Index>& counts);

/// Adds up what the layers do in the passes of an evaluation.
class RoutingCensus {
 public:
  using Layers = std::vector<const model::MoeLayer<float>*>;
  /// `layers` must outlive this. domains: how many the data has, 0: none are known.
  RoutingCensus(Layers layers, Index experts, Index vocabulary, Index domains);

  /// What the last forward did with this rank's tokens.
  void add_pass(const model::Step& step, const Batch& batch);
  /// The counts of all ranks, from now on. Collective.
  void share(const comm::Communicator& communicator);

  [[nodiscard]] const std::vector<LayerCensus>& layers() const { return counts_; }
  [[nodiscard]] Index experts() const { return experts_; }
  [[nodiscard]] Index tokens() const { return tokens_; }  // that passed

 private:
  Layers layers_;
  Index experts_;
  Index tokens_ = 0;
  std::vector<LayerCensus> counts_;  // [layers]
};

}  // namespace conclave::train
