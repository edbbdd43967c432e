// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/routing_counts.hpp"

#include <algorithm>

namespace conclave::model {

template <class T>
gating::RoutingSizes routing_sizes(const std::vector<const MoeLayer<T>*>& layers, Index groups, Index group_tokens) {
  invariant(!layers.empty(), "the routing of a model without MoE layers");
  const gating::RoutingSizes sizes{std::ssize(layers), layers.front()->shape().router.experts, groups, group_tokens,
                                   std::min(groups, gating::most_source_classes)};
  check(sizes);
  return sizes;
}

template <class T>
void add_routing(const Step& step, const std::vector<const MoeLayer<T>*>& layers, const gating::RoutingSizes& sizes,
                 gating::RoutingStep& counts) {
  for (std::vector<Index>* all : {&counts.claimed, &counts.kept}) all->resize(static_cast<std::size_t>(sizes.counts()));
  for (Index l = 0; l < sizes.layers; ++l) {
    for (Index g = 0; g < step.groups.num_groups; ++g) {
      const gating::Routing<T>& routing = layers[static_cast<std::size_t>(l)]->routed(g).routing;
      const auto first =
          static_cast<std::size_t>(sizes.place(l, gating::source_class(sizes, GroupId{step.first_group + g}), 0));
      for (std::size_t e = 0; e < routing.counts().load.size(); ++e) {
        counts.claimed[first + e] += routing.counts().load[e];
      }
      for (const gating::Assignment<T>& kept : routing.kept()) {
        ++counts.kept[first + static_cast<std::size_t>(kept.expert.value())];
      }
    }
  }
}

#define CONCLAVE_INSTANTIATE(T)                                                                               \
  template gating::RoutingSizes routing_sizes(const std::vector<const MoeLayer<T>*>&, Index, Index);          \
  template void add_routing(const Step&, const std::vector<const MoeLayer<T>*>&, const gating::RoutingSizes&, \
                            gating::RoutingStep&)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
