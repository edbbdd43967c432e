// SPDX-License-Identifier: BSD-3-Clause
// The drop ledger, entry by entry: which token lost which choice in which layer, and why.
#pragma once

#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

struct DropRecord {
  Index layer = 0;   // among the MoE layers, in order
  Index token = 0;   // in the step, in global order
  Index choice = 0;  // the choice that was lost; 0 for an unchosen token
  Index expert = 0;  // the expert that it asked for; -1 for an unchosen token
  gating::DropReason reason = gating::DropReason::over_capacity;
  friend bool operator==(const DropRecord&, const DropRecord&) = default;
};

/// Puts entries of ascending tokens, from several ranks or passes one after another, into the ledger's order: by layer,
/// token and choice.
void order_by_layer(std::vector<DropRecord>& drops);

/// Every drop of the last forward of the layers, by layer, token and choice, the same on every rank. Collective: one
/// gather of five integers a drop.
template <class T>
[[nodiscard]] std::vector<DropRecord> collect_drops(const comm::Communicator& communicator, const Step& step,
                                                    const std::vector<const MoeLayer<T>*>& layers);

}  // namespace conclave::model
