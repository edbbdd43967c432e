// SPDX-License-Identifier: BSD-3-Clause
// The file format safetensors: eight bytes with the length of a header (little-endian), the header, which is a JSON
// object, and the tensors' bytes. The header says of each tensor its type, its shape, and where its bytes begin and end
// behind the header; "__metadata__" is a table of texts. The tensors' bytes follow one another without holes.
#pragma once

#include "runtime/core/options.hpp"
#include "runtime/train/disk_file.hpp"

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// The types of numbers that are read and written, by the format's names. Little-endian.
enum class Dtype { f64, f32, bf16, i8 };

inline constexpr std::array<EnumName<Dtype>, 4> enum_names(Dtype) {
  return {{{Dtype::f64, "F64"}, {Dtype::f32, "F32"}, {Dtype::bf16, "BF16"}, {Dtype::i8, "I8"}}};
}
[[nodiscard]] Index bytes_of(Dtype type);

/// A tensor in a file. `bytes`: from the end of the header.
struct SafeTensor {
  std::string name;
  Dtype type = Dtype::f32;
  std::vector<Index> shape;  // row by row
  Range bytes;
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafeTensor> tensors;  // as their bytes follow one another
};

/// Reads the header of a file that has `data_bytes` behind it. InputError, which says what is wrong, for anything but a
/// whole header: other JSON, keys that stand twice, types that are not read, shapes that the bytes cannot fill, places
/// out of range, overlaps and holes. Takes memory in proportion to the text.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::string_view text, Index data_bytes);

/// A header as text, its length a multiple of eight as the format's own writers make it.
[[nodiscard]] std::string safetensors_header_text(const SafetensorsHeader& header);

/// A file, open to be read. InputError, naming the file, for one that is not of this format.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  [[nodiscard]] const SafetensorsHeader& header() const { return header_; }
  /// The bytes of one of its tensors.
  [[nodiscard]] std::vector<std::byte> read(const SafeTensor& tensor) const;

 private:
  std::filesystem::path path_;
  DiskFile file_;
  Index data_begin_ = 0;
  SafetensorsHeader header_;
};

/// A tensor to be written, and its bytes.
struct SafeTensorData {
  std::string name;
  Dtype type = Dtype::f32;
  std::vector<Index> shape;
  std::vector<std::byte> bytes;
};

/// Writes a file in place of what has the name, whole or not at all, and brings it to the disk. InputError if that
/// fails.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                       std::span<const SafeTensorData> tensors);

/// Tensors over several files: "model-00001-of-00003.safetensors" and so on, and the index that says which is where,
/// "model.safetensors.index.json": {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}.
struct SafetensorsIndex {
  Index total_bytes = 0;
  std::map<std::string, std::string> file_of;  // by tensor; names of files in the index's own folder
};
/// InputError for anything but such an index, and for names that lead out of the folder.
[[nodiscard]] SafetensorsIndex parse_safetensors_index(std::string_view text);
[[nodiscard]] std::string safetensors_index_text(const SafetensorsIndex& index);

}  // namespace conclave::train
