// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/parameters.hpp"

#include <xxhash.h>

namespace conclave {

Tensor ParameterList::add(std::string name, std::vector<Index> shape, Index rows, Index cols, Initial initial,
                          bool decays) {
  const Tensor tensor{size_, rows, cols};
  entries_.push_back({std::move(name), std::move(shape), tensor, initial, decays});
  size_ += tensor.size();
  return tensor;
}

Tensor ParameterList::add_matrix(std::string name, Index rows, Index cols, Initial initial) {
  return add(std::move(name), {rows, cols}, rows, cols, initial, true);
}

Tensor ParameterList::add_vector(std::string name, Index size, Initial initial) {
  return add(std::move(name), {size}, 1, size, initial, false);
}

template <class T>
void initialise(const ParameterList& list, Range range, Index seed, std::span<T> values) {
  invariant(static_cast<Index>(values.size()) == range.size(), "{} values for parameters [{}, {})", values.size(),
            range.begin, range.end);
  for (const ParameterEntry& entry : list.entries()) {
    const Range part = intersection(entry.tensor.range(), range);
    // The name's 64-bit hash and the element's number fill the whole counter.
    const auto hash = XXH3_64bits(entry.name.data(), entry.name.size());
    for (Index i = part.begin; i < part.end; ++i) {
      const Index element = i - entry.tensor.offset;
      const Random random(seed, RandomStream::initial, static_cast<Index>(hash >> 32), element >> 32);
      const double draw =
          entry.initial.deviation == 0.0 ? 0.0 : random.normal(element, static_cast<Index>(hash & 0xffffffffU));
      values[static_cast<std::size_t>(i - range.begin)] =
          static_cast<T>(entry.initial.constant + entry.initial.deviation * draw);
    }
  }
}

template void initialise(const ParameterList&, Range, Index, std::span<float>);
template void initialise(const ParameterList&, Range, Index, std::span<double>);

}  // namespace conclave
