// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint whole in the memory of one process: for what looks at all of a model or makes another one of it.
#pragma once

#include "runtime/train/checkpoint.hpp"

#include <map>

namespace conclave::train {

/// A tensor and all of its values, in row order.
struct WholeTensor {
  std::vector<Index> shape;
  std::vector<float> values;
  friend bool operator==(const WholeTensor&, const WholeTensor&) = default;
};

/// By path: "/params/block/0/moe/router_weight", "/optimizer/m/block/0/moe/router_weight".
using WholeTensors = std::map<std::string, WholeTensor>;

struct CheckpointContents {
  CheckpointHeader header;
  WholeTensors tensors;
};

inline const std::string parameter_group = "/params/";
inline const std::string optimizer_group = "/optimizer/";
/// Whether a path is of a parameter that the optimizer changes; what routers learn without it lies beside these.
[[nodiscard]] inline bool is_trained(std::string_view path) {
  return path.starts_with(parameter_group) && !path.ends_with("/selection_bias");
}

/// Reads a checkpoint and compares every checksum. InputError if it is not a complete checkpoint of this version or is
/// damaged. On this rank alone.
[[nodiscard]] CheckpointContents read_contents(const std::filesystem::path& file);

/// The tensors as parts that the calling rank holds whole. They refer to `tensors`.
[[nodiscard]] std::vector<TensorPart> parts_of(WholeTensors& tensors);

/// Gives each part, all of them of one group ("/params/"), the values that it asks for. InputError, naming the file and
/// up to 20 differences, if the tensors of the group are not exactly those of the parts.
void fill(const WholeTensors& tensors, const std::string& group, std::span<const TensorPart> parts,
          const std::filesystem::path& file);

}  // namespace conclave::train
