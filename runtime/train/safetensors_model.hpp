// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint as safetensors files, for other programs and from them.
//
//   /params/block/0/attention/qkv          block.0.attention.qkv        names without their group, dots for slashes
//   /optimizer/m/block/0/attention/qkv     optimizer.m.block.0.attention.qkv
//   a table of the header ("history")      table.history                F64
//   what else the header holds             "__metadata__": config.NAME, integer.NAME, number.NAME, record.NAME
//
// A matrix is stored as it is used: [outputs, inputs], row by row, as torch.nn.Linear has its weight; nothing is
// transposed. Values are F32. Matrices of /params but those of routers may be BF16, or I8 with an F32 vector NAME.scale
// [outputs]: value[i, j] = scale[i] q[i, j], with |q| up to 127 (symmetric, a scale for each output).
#pragma once

#include "runtime/train/checkpoint_contents.hpp"
#include "runtime/train/safetensors.hpp"

namespace conclave::train {

/// How the matrices of a model are stored.
enum class WeightType { f32, bf16, int8 };

inline constexpr std::array<EnumName<WeightType>, 3> enum_names(WeightType) {
  return {{{WeightType::f32, "f32"}, {WeightType::bf16, "bf16"}, {WeightType::int8, "int8"}}};
}

/// Whether a path names such a file or an index of several, by its end.
[[nodiscard]] bool is_safetensors(const std::filesystem::path& path);

/// Writes the contents as `out` (….safetensors), or, where that would be more than shard_bytes of tensors, as several
/// files beside it and an index; shard_bytes 0: one file. Returns the files, the index last. InputError if one cannot
/// be written.
std::vector<std::filesystem::path> write_safetensors_model(const CheckpointContents& contents,
                                                           const std::filesystem::path& out, WeightType type,
                                                           Index shard_bytes);

/// Reads what write_safetensors_model writes, or a file or index of another program with the same names; what is not
/// F32 becomes it. A file without this program's metadata gives a header without entries. InputError for files that are
/// damaged or hold what no checkpoint has. Values are not looked at.
[[nodiscard]] CheckpointContents read_safetensors_model(const std::filesystem::path& file_or_index);

}  // namespace conclave::train
