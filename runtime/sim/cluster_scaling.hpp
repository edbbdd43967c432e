// SPDX-License-Identifier: BSD-3-Clause
// The same kind of machine with another number of ranks.
#pragma once

#include "runtime/sim/cluster.hpp"

namespace conclave::sim {

/// A machine of `ranks` ranks: nodes = ranks / ranks_per_node, or a single node of `ranks`, where they are fewer. The
/// fabric grows and shrinks by its levels: inner ones (a fat tree's leaf, a dragonfly's router, then chassis) are
/// filled first and stay as large as they are described, the outermost takes any number; a leaf keeps its links
/// upwards, so that a tree's over-subscription stays. A torus keeps its number of dimensions and becomes as even as the
/// nodes' prime factors allow. Faults of nodes that are there stay. InputError for a number of ranks that does not fill
/// nodes or levels evenly, with numbers that do.
[[nodiscard]] Cluster scaled_to(const Cluster& cluster, Index ranks);

}  // namespace conclave::sim
