// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/fabric.hpp"

namespace conclave::sim {
namespace {

struct FabricMaker {
  FabricKind kind;
  std::unique_ptr<Fabric> (*make)(const Cluster& cluster);
};

constexpr std::array<FabricMaker, 4> makers{{{FabricKind::crossbar, make_crossbar},
                                             {FabricKind::fat_tree, make_fat_tree},
                                             {FabricKind::torus, make_torus},
                                             {FabricKind::dragonfly, make_dragonfly}}};

}  // namespace

std::unique_ptr<Fabric> make_fabric(const Cluster& cluster) {
  for (const FabricMaker& maker : makers) {
    if (maker.kind == cluster.fabric.kind) return maker.make(cluster);
  }
  invariant(false, "a fabric of kind {} that nobody makes", name_of(cluster.fabric.kind));
  return nullptr;
}

}  // namespace conclave::sim
