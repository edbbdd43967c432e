// SPDX-License-Identifier: BSD-3-Clause
// Where a step's tokens went, counted for a routing trace.
#pragma once

#include "gating/routing_trace.hpp"
#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

/// The sizes of what a run's layers tell: classes as many as groups, up to most_source_classes. layers must not be
/// empty.
template <class T>
[[nodiscard]] gating::RoutingSizes routing_sizes(const std::vector<const MoeLayer<T>*>& layers, Index groups,
                                                 Index group_tokens);

/// Adds what the last forward of the layers did with this rank's groups of a pass. Over ranks and passes the counts are
/// to be summed: integers, so in any order.
template <class T>
void add_routing(const Step& step, const std::vector<const MoeLayer<T>*>& layers, const gating::RoutingSizes& sizes,
                 gating::RoutingStep& counts);

}  // namespace conclave::model
