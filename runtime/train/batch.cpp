// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/batch.hpp"

namespace conclave::train {

void read_batch(const Dataset& dataset, Split split, Index first, Index count, Batch& batch) {
  std::vector<std::int32_t> sequence(static_cast<std::size_t>(dataset.context()) + 1);
  batch.tokens.clear();
  batch.targets.clear();
  batch.domains.clear();
  for (Index i = 0; i < count; ++i) {
    dataset.read(split, first + i, sequence);
    batch.tokens.insert(batch.tokens.end(), sequence.begin(), sequence.end() - 1);
    batch.targets.insert(batch.targets.end(), sequence.begin() + 1, sequence.end());
    if (const auto domain = dataset.domain(split, first + i)) {
      batch.domains.insert(batch.domains.end(), sequence.size() - 1, static_cast<std::int32_t>(*domain));
    }
  }
}

}  // namespace conclave::train
