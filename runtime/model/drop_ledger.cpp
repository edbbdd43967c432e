// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/drop_ledger.hpp"

#include <algorithm>

namespace conclave::model {

void order_by_layer(std::vector<DropRecord>& drops) {
  std::stable_sort(drops.begin(), drops.end(),
                   [](const DropRecord& a, const DropRecord& b) { return a.layer < b.layer; });
}

template <class T>
std::vector<DropRecord> collect_drops(const comm::Communicator& communicator, const Step& step,
                                      const std::vector<const MoeLayer<T>*>& layers) {
  constexpr std::size_t columns = 5;
  std::vector<std::int64_t> mine;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (Index g = 0; g < step.groups.num_groups; ++g) {
      for (const gating::Drop& drop : layers[l]->routed(g).routing.counts().drops) {
        mine.insert(mine.end(), {static_cast<Index>(l), step.first_token(g).value() + drop.token, drop.choice,
                                 drop.expert.value(), static_cast<Index>(drop.reason)});
      }
    }
  }
  const std::vector<std::int64_t> all = communicator.gather_all(std::span<const std::int64_t>(mine));
  std::vector<DropRecord> drops;
  for (std::size_t i = 0; i < all.size(); i += columns) {
    drops.push_back({all[i], all[i + 1], all[i + 2], all[i + 3], static_cast<gating::DropReason>(all[i + 4])});
  }
  order_by_layer(drops);  // gathered by rank, then layer, then token
  return drops;
}

template std::vector<DropRecord> collect_drops(const comm::Communicator&, const Step&,
                                               const std::vector<const MoeLayer<float>*>&);
template std::vector<DropRecord> collect_drops(const comm::Communicator&, const Step&,
                                               const std::vector<const MoeLayer<double>*>&);

}  // namespace conclave::model
