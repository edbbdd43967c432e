// SPDX-License-Identifier: BSD-3-Clause
// Keys and values of sequences' earlier tokens, so that going on with them costs the new tokens alone.
#pragma once

#include "runtime/model/attention.hpp"
#include "runtime/model/options.hpp"

#include <vector>

namespace conclave::model {

/// Of a rank's sequences, in every layer: 2 layers sequences context width sizeof(T) bytes. What is behind a sequence's
/// last position is never read, so a place is free for another sequence as it is.
template <class T>
class KeyValueCache {
 public:
  KeyValueCache(const ModelOptions& options, Index sequences) : layers_(static_cast<std::size_t>(options.layers)) {
    for (AttentionCache<T>& layer : layers_) {
      layer.keys.resize(sequences * options.context, options.width);
      layer.values.resize(sequences * options.context, options.width);
    }
  }
  /// What `sequences` take on a rank. [bytes]
  [[nodiscard]] static double bytes(const ModelOptions& options, Index sequences) {
    return 2.0 * static_cast<double>(options.layers * sequences) *
           static_cast<double>(options.context * options.width) * sizeof(T);
  }
  [[nodiscard]] AttentionCache<T>& layer(Index number) { return layers_[static_cast<std::size_t>(number)]; }

 private:
  std::vector<AttentionCache<T>> layers_;
};

}  // namespace conclave::model
