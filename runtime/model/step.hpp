// SPDX-License-Identifier: BSD-3-Clause
// What every layer is told about the step it takes part in.
#pragma once

#include "comm/mpi/exchange.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/trace.hpp"
#include "runtime/model/layers.hpp"
#include "runtime/model/wire.hpp"

namespace conclave::model {

/// Groups that go on with sequences, one each, whose earlier tokens are in a cache (key_value_cache.hpp). All
/// [local groups].
struct Continuation {
  std::span<const Index> places;          // of the sequence in this rank's cache
  std::span<const Index> positions;       // of the group's first token in its sequence
  std::span<const TokenId> first_tokens;  // the number of the group's first token, for routing by numbers
};

/// A step's groups may come in several passes (gradient accumulation); its groups are numbered over all of them.
struct Step {
  Index number = 0;              // the training step, for random draws
  bool training = true;          // false: no random draws, the capacity factor of evaluation
  Index num_groups = 1;          // groups of the step, over all ranks and passes
  Index num_groups_in_pass = 1;  // groups of this pass, over all ranks
  Index first_group = 0;         // this rank's first group in this pass, among those of the step
  GroupRows groups;              // this rank's groups of this pass
  PhaseTimes* times = nullptr;   // where the time goes; not null
  /// [local tokens] the domain of each token's document, or empty: not known. For routing by rules.
  std::span<const std::int32_t> domains{};
  /// Routers note logits that are not finite in their tapes, so that all ranks end the step, instead of refusing them.
  bool notes_not_finite = false;
  const Continuation* continued = nullptr;  // null: groups are whole sequences, one after another
  Index num_targets = 0;                    // tokens of the step that have a target, over all ranks and passes; 0: all

  [[nodiscard]] TokenId first_token(Index local_group) const {
    if (continued != nullptr) return continued->first_tokens[static_cast<std::size_t>(local_group)];
    return TokenId{(first_group + local_group) * groups.rows};
  }
};

/// The ranks that compute together, and how rows travel between them. Both outlive the layers that refer to them.
struct Ranks {
  const comm::Communicator* communicator = nullptr;
  const comm::Exchange* exchange = nullptr;
  Index waves = 1;  // in which experts compute (expert_waves.hpp)
  Wire wire = Wire::fp32;
  /// Which rank hosts which expert, of each MoE layer; empty: even runs. Only looked at while a model is made.
  std::span<const ExpertMap> placement{};
};

}  // namespace conclave::model
