// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/safetensors.hpp"

#include "runtime/train/safetensors_json.hpp"

#include <algorithm>
#include <bit>

namespace conclave::train {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

namespace {

constexpr const char* metadata_key = "__metadata__";
// As the format's own readers have it: more is no header, and would be memory for nothing.
constexpr Index longest_header = 100'000'000;
constexpr Index length_bytes = 8;

InputError wrong_tensor(const std::string& name, const std::string& what) {
  return InputError(fmt::format("tensor '{}' {}", name, what), "write the file again");
}

Dtype type_named(const std::string& name, const Json& value) {
  if (value.is_string()) {
    for (const auto& entry : enum_names(Dtype{})) {
      if (entry.name == value.get<std::string>()) return entry.value;
    }
  }
  throw InputError(fmt::format("tensor '{}' has dtype {}", name, shortened(value.dump())),
                   "F32, BF16, I8 and F64 are read: convert the file to F32");
}

/// A list of numbers from 0 on.
std::vector<Index> sizes(const std::string& name, const char* key, const Json& value) {
  std::vector<Index> list;
  const bool is_list = value.is_array() && std::all_of(value.begin(), value.end(), [&](const Json& one) {
                         if (!one.is_number_unsigned() || one.get<std::uint64_t>() > std::uint64_t{1} << 62U)
                           return false;
                         list.push_back(one.get<Index>());
                         return true;
                       });
  if (!is_list) throw wrong_tensor(name, fmt::format("has {} = {}", key, shortened(value.dump())));
  return list;
}

/// bytes = the product of the shape, without running over.
void require_size(const SafeTensor& tensor) {
  Index bytes = bytes_of(tensor.type);
  bool fits = true;
  const bool is_empty = std::find(tensor.shape.begin(), tensor.shape.end(), Index{0}) != tensor.shape.end();
  for (const Index size : tensor.shape) {
    if (is_empty) break;
    fits = fits && size <= tensor.bytes.size() / bytes;
    if (fits) bytes *= size;
  }
  if (is_empty) bytes = 0;
  if (fits && bytes == tensor.bytes.size()) return;
  throw wrong_tensor(tensor.name, fmt::format("of shape [{}] and type {} has {} bytes", fmt::join(tensor.shape, " x "),
                                              name_of(tensor.type), tensor.bytes.size()));
}

SafeTensor tensor_of(const std::string& name, const Json& value, Index data_bytes) {
  require_keys(fmt::format("tensor '{}'", name), value, {"dtype", "shape", "data_offsets"});
  SafeTensor tensor{name, type_named(name, value["dtype"]), sizes(name, "shape", value["shape"]), {}};
  const std::vector<Index> offsets = sizes(name, "data_offsets", value["data_offsets"]);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    throw wrong_tensor(name, fmt::format("stands at bytes [{}) of {}", fmt::join(offsets, ", "), data_bytes));
  }
  tensor.bytes = {offsets[0], offsets[1]};
  require_size(tensor);
  return tensor;
}

// One behind the other from the first byte to the last.
void require_no_holes(const std::vector<SafeTensor>& tensors, Index data_bytes) {
  Index at = 0;
  for (const SafeTensor& tensor : tensors) {
    if (tensor.bytes.begin != at) {
      throw wrong_tensor(tensor.name,
                         fmt::format("begins at byte {}, the one before ends at {}: {}", tensor.bytes.begin, at,
                                     tensor.bytes.begin < at ? "they overlap" : "there is a hole"));
    }
    at = tensor.bytes.end;
  }
  if (at != data_bytes) {
    throw InputError(fmt::format("the tensors end at byte {} of {}", at, data_bytes),
                     "the file was cut or lengthened: write it again");
  }
}

}  // namespace

Index bytes_of(Dtype type) {
  switch (type) {
    case Dtype::f64:
      return 8;
    case Dtype::f32:
      return 4;
    case Dtype::bf16:
      return 2;
    case Dtype::i8:
      return 1;
  }
  invariant(false, "a type of number {}", static_cast<int>(type));
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, Index data_bytes) {
  SafetensorsHeader header;
  const Json json = parse_flat_json(text);
  for (const auto& [name, value] : json.items()) {
    if (name == metadata_key) {
      header.metadata = texts_of(metadata_key, value);
    } else {
      header.tensors.push_back(tensor_of(name, value, data_bytes));
    }
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
    return std::pair(a.bytes.begin, a.bytes.end) < std::pair(b.bytes.begin, b.bytes.end);
  });
  require_no_holes(header.tensors, data_bytes);
  return header;
}

std::string safetensors_header_text(const SafetensorsHeader& header) {
  OrderedJson json = OrderedJson::object();
  if (!header.metadata.empty()) json[metadata_key] = header.metadata;
  for (const SafeTensor& tensor : header.tensors) {
    json[tensor.name] = {{"dtype", name_of(tensor.type)},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.bytes.begin, tensor.bytes.end}}};
  }
  std::string text = text_of(json);
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path), file_(path, DiskFile::Access::read) {
  try {
    const auto size = static_cast<Index>(fs::file_size(path));
    std::uint64_t length = 0;
    if (size >= length_bytes) file_.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
    const Index most = std::min(longest_header, size - length_bytes);
    if (size < length_bytes || length > static_cast<std::uint64_t>(most)) {
      throw InputError(fmt::format("the file has {} bytes and a header of {}", size, length),
                       "this is no safetensors file, or one that was cut");
    }
    std::string text(length, ' ');
    file_.read_at(length_bytes, std::as_writable_bytes(std::span(text)));
    data_begin_ = length_bytes + static_cast<Index>(length);
    header_ = parse_safetensors_header(text, size - data_begin_);
  } catch (const InputError& error) {
    throw InputError(fmt::format("'{}': {}", path.string(), error.what()), error.hint());
  } catch (const fs::filesystem_error& error) {
    throw InputError(fmt::format("cannot read '{}': {}", path.string(), error.code().message()));
  }
}

std::vector<std::byte> SafetensorsFile::read(const SafeTensor& tensor) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes.size()));
  file_.read_at(data_begin_ + tensor.bytes.begin, bytes);
  return bytes;
}

void write_safetensors(const fs::path& path, const std::map<std::string, std::string>& metadata,
                       std::span<const SafeTensorData> tensors) {
  SafetensorsHeader header{metadata, {}};
  Index at = 0;
  for (const SafeTensorData& tensor : tensors) {
    header.tensors.push_back({tensor.name, tensor.type, tensor.shape, {at, at + std::ssize(tensor.bytes)}});
    at = header.tensors.back().bytes.end;
  }
  const std::string text = safetensors_header_text(header);
  static_cast<void>(parse_safetensors_header(text, at));  // what is written can be read
  const std::uint64_t length = text.size();
  replace_file(path, [&](const fs::path& partial) {
    write_new_file(partial, text, length_bytes + std::ssize(text) + at);
    const DiskFile file(partial, DiskFile::Access::read_write);
    file.write_at(0, std::as_bytes(std::span(&length, 1)));
    file.write_at(length_bytes, std::as_bytes(std::span(text)));
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      file.write_at(length_bytes + std::ssize(text) + header.tensors[i].bytes.begin, tensors[i].bytes);
    }
    file.sync();
  });
}

SafetensorsIndex parse_safetensors_index(std::string_view text) {
  SafetensorsIndex index;
  const Json json = parse_flat_json(text);
  require_keys("an index of safetensors files", json, {"metadata", "weight_map"});
  const Json& metadata = json["metadata"];
  if (metadata.is_object() && metadata.contains("total_size") && metadata["total_size"].is_number_unsigned()) {
    index.total_bytes = metadata["total_size"].get<Index>();
  }
  index.file_of = texts_of("weight_map", json["weight_map"]);
  for (const auto& [tensor, file] : index.file_of) {
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos) {
      throw InputError(fmt::format("tensor '{}' is said to stand in '{}'", tensor, shortened(file)),
                       "the files of an index are in its own folder");
    }
  }
  return index;
}

std::string safetensors_index_text(const SafetensorsIndex& index) {
  OrderedJson json;
  json["metadata"] = {{"total_size", index.total_bytes}};
  json["weight_map"] = index.file_of;
  return json.dump(2) + "\n";
}

}  // namespace conclave::train
