// SPDX-License-Identifier: BSD-3-Clause
// The MoE layer that is measured: its options, and the numbers it is given.
#pragma once

#include "apps/command.hpp"
#include "experts/options.hpp"
#include "gating/options.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/parameters.hpp"

namespace conclave::apps {

/// Which experts tokens ask for. The draws are put into the tokens, as the logits that the gate's matrix reads off
/// them, so that the gate computes what it always does and costs what it costs:
///   uniform  every expert is as likely
///   zipf     expert e is 1/(e + 1) times as likely as the first (Zipf's law with exponent 1)
///   one      every token's first choice is expert 0, its others are uniform
///   drawn    the weights are drawn as at a run's start, and decide
enum class Skew { uniform, zipf, one, drawn };

inline constexpr std::array<EnumName<Skew>, 4> enum_names(Skew) {
  return {{{Skew::uniform, "uniform"}, {Skew::zipf, "zipf"}, {Skew::one, "one"}, {Skew::drawn, "drawn"}}};
}

struct MoeCase {
  Index tokens = 4096;
  Index groups = 4;
  Index width = 512;
  gating::RouterOptions router;
  experts::ExpertOptions experts;
  Skew skew = Skew::uniform;
  ComputeOptions compute{.threads = 1};
  bool explain_router = false;

  MoeCase() {
    router.experts = 16;
    router.capacity_factor = 0.0;
    experts.expert_hidden = {2048};
  }
};

void describe(MoeCase& c, OptionSections& sections);

/// Takes the router's preset, finds whether the draws of `skew` fit the router, checks all values and applies what is
/// said about computing. InputError with the values and the remedy. Warns on stderr of
/// options without effect. Collective.
void settle(MoeCase& c, const Session& session);

/// If the options ask for it, says on the root what the router does instead of measuring, and returns true.
[[nodiscard]] bool explained(const MoeCase& c, const Session& session);

/// Fills x [tokens, width] and token_ids for consecutive tokens of which `first` is the first.
void draw_tokens(const MoeCase& c, TokenId first, MatrixView<float> x, std::vector<std::int32_t>& token_ids);

/// The initial values of the layer's replicated tensors, with a gate that reads the draws off the tokens.
void draw_parameters(const MoeCase& c, const ParameterList& list, std::span<float> values);

/// "capacity factor 1.25: 12.30 % of the claims dropped": a factor is never shown without what it did.
[[nodiscard]] std::string drop_text(double capacity_factor, Index claims, Index dropped);

}  // namespace conclave::apps
