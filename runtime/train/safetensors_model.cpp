// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/safetensors_model.hpp"

#include "runtime/core/bf16.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/mapped_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view file_end = ".safetensors";
constexpr std::string_view index_end = ".safetensors.index.json";
constexpr const char* table_prefix = "table.";
constexpr const char* optimizer_prefix = "optimizer.";
constexpr const char* scale_suffix = ".scale";
constexpr float largest_int8 = 127.0F;

std::string replaced(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

/// "/params/block/0/x" -> "block.0.x"
std::string name_in_file(const std::string& path) {
  const bool is_parameter = path.starts_with(parameter_group);
  return replaced(path.substr(is_parameter ? parameter_group.size() : 1), '/', '.');
}
std::string path_of(const std::string& name) {
  return (name.starts_with(optimizer_prefix) ? "/" : parameter_group) + replaced(name, '.', '/');
}

template <class T>
std::vector<std::byte> bytes_of_values(std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

template <class T>
std::vector<T> values_of_bytes(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Routers decide by small differences, and are small.
bool may_be_rounded(const std::string& path, const WholeTensor& tensor) {
  return path.starts_with(parameter_group) && tensor.shape.size() == 2 &&
         path.find("/moe/router_") == std::string::npos && path.find("/moe/noise_weight") == std::string::npos;
}

// q = round(value / scale), scale = the row's largest magnitude / 127
void add_int8(const std::string& name, const WholeTensor& tensor, std::vector<SafeTensorData>& to) {
  const Index rows = tensor.shape[0];
  const Index cols = tensor.shape[1];
  std::vector<std::int8_t> rounded(tensor.values.size());
  std::vector<float> scales(static_cast<std::size_t>(rows));
  for (Index i = 0; i < rows; ++i) {
    const auto row =
        std::span(tensor.values).subspan(static_cast<std::size_t>(i * cols), static_cast<std::size_t>(cols));
    float largest = 0.0F;
    for (const float value : row) largest = std::max(largest, std::abs(value));
    const float scale = largest / largest_int8;
    scales[static_cast<std::size_t>(i)] = scale;
    for (std::size_t j = 0; j < row.size() && scale > 0.0F; ++j) {
      const float q = std::clamp(std::nearbyint(row[j] / scale), -largest_int8, largest_int8);
      rounded[static_cast<std::size_t>(i * cols) + j] = static_cast<std::int8_t>(q);
    }
  }
  to.push_back({name, Dtype::i8, tensor.shape, bytes_of_values<std::int8_t>(rounded)});
  to.push_back({name + scale_suffix, Dtype::f32, {rows}, bytes_of_values<float>(scales)});
}

std::vector<SafeTensorData> tensors_of(const CheckpointContents& contents, WeightType type) {
  std::vector<SafeTensorData> tensors;
  for (const auto& [path, tensor] : contents.tensors) {
    const std::string name = name_in_file(path);
    if (type == WeightType::f32 || !may_be_rounded(path, tensor)) {
      tensors.push_back({name, Dtype::f32, tensor.shape, bytes_of_values<float>(tensor.values)});
    } else if (type == WeightType::bf16) {
      std::vector<std::uint16_t> rounded(tensor.values.size());
      to_bf16<float>(tensor.values, rounded);
      tensors.push_back({name, Dtype::bf16, tensor.shape, bytes_of_values<std::uint16_t>(rounded)});
    } else {
      add_int8(name, tensor, tensors);
    }
  }
  for (const auto& [name, table] : contents.header.tables) {
    tensors.push_back({table_prefix + replaced(name, '/', '.'),
                       Dtype::f64,
                       {table.rows, table.cols},
                       bytes_of_values<double>(table.values)});
  }
  return tensors;
}

std::map<std::string, std::string> metadata_of(const CheckpointHeader& header) {
  std::map<std::string, std::string> metadata{{"format", "pt"}};  // what other readers of such files ask for
  for (const auto& [name, text] : header.config) metadata["config." + name] = text;
  for (const auto& [name, text] : header.record) metadata["record." + name] = text;
  for (const auto& [name, value] : header.integers) metadata["integer." + name] = fmt::format("{}", value);
  for (const auto& [name, value] : header.numbers) metadata["number." + name] = fmt::format("{}", value);
  return metadata;
}

template <class Number>
Number number_of(const std::string& name, const std::string& text) {
  const auto value = parse_number<Number>(text);
  if (!value)
    throw InputError(fmt::format("the metadata's {} = '{}' is no number", name, text), "write the file again");
  return *value;
}

void read_metadata(const std::map<std::string, std::string>& metadata, CheckpointHeader& header) {
  for (const auto& [name, text] : metadata) {
    const std::size_t dot = name.find('.');
    if (dot == std::string::npos) continue;  // of other programs
    const std::string section = name.substr(0, dot);
    const std::string entry = name.substr(dot + 1);
    if (section == "config") header.config[entry] = text;
    if (section == "record") header.record[entry] = text;
    if (section == "integer") header.integers[entry] = number_of<std::int64_t>(name, text);
    if (section == "number") header.numbers[entry] = number_of<double>(name, text);
  }
}

/// The files of one model, tensor by tensor.
class Reading {
 public:
  void add(const SafetensorsFile& file) {
    for (const SafeTensor& tensor : file.header().tensors) {
      if (!found_.emplace(tensor.name, Found{tensor, file.read(tensor)}).second) {
        throw InputError(fmt::format("tensor '{}' stands in two files", tensor.name), "leave one");
      }
    }
    read_metadata(file.header().metadata, contents_.header);
  }

  CheckpointContents contents() {
    for (auto& [name, found] : found_) {
      if (name.starts_with(table_prefix)) {
        take_table(name, found);
      } else if (!is_scale(name)) {
        take(name, found);
      }
      found.bytes.clear();
    }
    return std::move(contents_);
  }

 private:
  struct Found {
    SafeTensor tensor;
    std::vector<std::byte> bytes;
  };

  // Of a tensor in I8; another one may be called so too.
  [[nodiscard]] bool is_scale(const std::string& name) const {
    if (!name.ends_with(scale_suffix)) return false;
    const auto scaled = found_.find(name.substr(0, name.size() - std::string_view(scale_suffix).size()));
    return scaled != found_.end() && scaled->second.tensor.type == Dtype::i8;
  }

  void take_table(const std::string& name, const Found& found) {
    if (found.tensor.type != Dtype::f64 || found.tensor.shape.size() != 2) {
      throw InputError(fmt::format("table '{}' is no matrix in F64", name), "write the file again");
    }
    const std::string path = replaced(name.substr(std::string_view(table_prefix).size()), '.', '/');
    contents_.header.tables[path] = {found.tensor.shape[0], found.tensor.shape[1],
                                     values_of_bytes<double>(found.bytes)};
  }

  void take(const std::string& name, const Found& found) {
    WholeTensor& tensor = contents_.tensors[path_of(name)];
    tensor.shape = found.tensor.shape;
    switch (found.tensor.type) {
      case Dtype::f32:
        tensor.values = values_of_bytes<float>(found.bytes);
        return;
      case Dtype::bf16: {
        const auto rounded = values_of_bytes<std::uint16_t>(found.bytes);
        tensor.values.resize(rounded.size());
        from_bf16<float>(rounded, tensor.values);
        return;
      }
      case Dtype::i8:
        tensor.values = scaled(name, found);
        return;
      case Dtype::f64:
        break;
    }
    throw InputError(fmt::format("tensor '{}' is in F64", name), "parameters are float32: convert the file to F32");
  }

  [[nodiscard]] std::vector<float> scaled(const std::string& name, const Found& found) const {
    const auto scale = found_.find(name + scale_suffix);
    const bool has_scale = scale != found_.end() && found.tensor.shape.size() == 2 &&
                           scale->second.tensor.type == Dtype::f32 &&
                           scale->second.tensor.shape == std::vector<Index>{found.tensor.shape[0]};
    if (!has_scale) {
      throw InputError(fmt::format("tensor '{}' is in I8 without a scale for each of its rows", name),
                       fmt::format("it needs a tensor '{}{}' in F32", name, scale_suffix));
    }
    const auto scales = values_of_bytes<float>(scale->second.bytes);
    const auto rounded = values_of_bytes<std::int8_t>(found.bytes);
    std::vector<float> values(rounded.size());
    const std::size_t cols = scales.empty() ? 1 : rounded.size() / scales.size();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = scales[i / cols] * static_cast<float>(rounded[i]);
    return values;
  }

  std::map<std::string, Found> found_;
  CheckpointContents contents_;
};

void read_indexed(const fs::path& path, Reading& reading) {
  const MappedFile file(path.string());
  const auto bytes = file.bytes();
  const SafetensorsIndex index =
      parse_safetensors_index({reinterpret_cast<const char*>(bytes.data()), bytes.size()});  // NOLINT
  std::map<std::string, std::vector<std::string>> tensors_of_file;
  for (const auto& [tensor, name] : index.file_of) tensors_of_file[name].push_back(tensor);
  for (const auto& [name, tensors] : tensors_of_file) {
    const SafetensorsFile part(path.parent_path() / name);
    std::vector<std::string> found;
    for (const SafeTensor& tensor : part.header().tensors) found.push_back(tensor.name);
    std::sort(found.begin(), found.end());
    if (found != tensors) {
      throw InputError(fmt::format("'{}' holds other tensors than the index says ({} instead of {})", name,
                                   found.size(), tensors.size()),
                       "the files are not of one model, or one is missing tensors");
    }
    reading.add(part);
  }
}

}  // namespace

bool is_safetensors(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(file_end) || name.ends_with(index_end);
}

std::vector<fs::path> write_safetensors_model(const CheckpointContents& contents, const fs::path& out, WeightType type,
                                              Index shard_bytes) {
  std::vector<SafeTensorData> tensors = tensors_of(contents, type);
  const auto metadata = metadata_of(contents.header);
  std::vector<Range> shards{{0, 0}};
  SafetensorsIndex index;
  Index in_shard = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Index size = std::ssize(tensors[i].bytes);
    if (shard_bytes > 0 && !shards.back().empty() && in_shard + size > shard_bytes) {
      shards.push_back({static_cast<Index>(i), static_cast<Index>(i)});
      in_shard = 0;
    }
    shards.back().end = static_cast<Index>(i) + 1;
    in_shard += size;
    index.total_bytes += size;
  }
  const auto in = [&](Range shard) {
    return std::span(tensors).subspan(static_cast<std::size_t>(shard.begin), static_cast<std::size_t>(shard.size()));
  };
  if (shards.size() == 1) {
    write_safetensors(out, metadata, tensors);
    return {out};
  }
  const std::string stem = out.stem().string();
  std::vector<fs::path> files;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string name = fmt::format("{}-{:05}-of-{:05}{}", stem, s + 1, shards.size(), file_end);
    for (const SafeTensorData& tensor : in(shards[s])) index.file_of[tensor.name] = name;
    files.push_back(out.parent_path() / name);
    write_safetensors(files.back(), metadata, in(shards[s]));
  }
  files.push_back(out.parent_path() / (stem + std::string(index_end)));
  replace_file(files.back(), safetensors_index_text(index));
  return files;
}

CheckpointContents read_safetensors_model(const fs::path& path) {
  Reading reading;
  try {
    if (path.filename().string().ends_with(index_end)) {
      read_indexed(path, reading);
    } else {
      reading.add(SafetensorsFile(path));
    }
    return reading.contents();
  } catch (const InputError& error) {
    const bool is_named = std::string(error.what()).find(path.string()) != std::string::npos;
    throw InputError(is_named ? error.what() : fmt::format("'{}': {}", path.string(), error.what()), error.hint());
  }
}

}  // namespace conclave::train
