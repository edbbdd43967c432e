// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint_header.hpp"

#include "runtime/core/digest.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

namespace conclave::train {

namespace {

constexpr const char* checksum_name = "header_checksum";
constexpr std::array<std::string_view, 4> header_groups{"/config", "/state", "/record", "/tables"};

/// Appends values to bytes.
struct Packer {
  std::string bytes;

  template <class T>
  requires std::is_arithmetic_v<T>
  void operator()(const T& value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof(T));
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<Index>(text.size()));
    bytes += text;
  }
  void operator()(const NumberTable& table) {
    (*this)(table.rows);
    (*this)(table.cols);
    for (const double value : table.values) (*this)(value);
  }
  template <class T>
  void operator()(const std::map<std::string, T>& entries) {
    (*this)(static_cast<Index>(entries.size()));
    for (const auto& [name, value] : entries) {
      (*this)(name);
      (*this)(value);
    }
  }
};

/// Takes what a Packer has written, in the same order.
class Unpacker {
 public:
  explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}

  template <class T>
  requires std::is_arithmetic_v<T>
  void operator()(T& value) { std::memcpy(&value, take(sizeof(T)), sizeof(T)); }
  void operator()(std::string& text) {
    const std::size_t size = count();
    text.assign(take(size), size);
  }
  void operator()(NumberTable& table) {
    (*this)(table.rows);
    (*this)(table.cols);
    table.values.resize(static_cast<std::size_t>(table.rows * table.cols));
    for (double& value : table.values) (*this)(value);
  }
  template <class T>
  void operator()(std::map<std::string, T>& entries) {
    for (std::size_t left = count(); left > 0; --left) {
      std::string name;
      (*this)(name);
      (*this)(entries[name]);
    }
  }

 private:
  std::size_t count() {
    Index value = 0;
    (*this)(value);
    return static_cast<std::size_t>(value);
  }
  const char* take(std::size_t size) {
    invariant(size <= bytes_.size() - at_, "{} bytes of {} taken at {}", size, bytes_.size(), at_);
    at_ += size;
    return bytes_.data() + at_ - size;
  }
  const std::string& bytes_;
  std::size_t at_ = 0;
};

/// All of a header, in one order for packing and unpacking.
template <class Archive, class Header>
void visit(Archive& archive, Header& header) {
  archive(header.config);
  archive(header.integers);
  archive(header.numbers);
  archive(header.record);
  archive(header.tables);
}

std::uint64_t checksum(const CheckpointHeader& header) {
  Digest digest;
  digest.add("header", 0, std::span<const char>(pack(header)));
  return digest.value();
}

template <class T>
void store_attributes(Hdf5File& file, const std::string& group, const std::map<std::string, T>& entries) {
  for (const auto& [name, value] : entries) file.write_attribute(group, name, value);
}

std::map<std::string, std::string> load_texts(const Hdf5File& file, const std::string& group) {
  std::map<std::string, std::string> texts;
  for (const std::string& name : file.attributes(group)) texts[name] = file.attribute<std::string>(group, name);
  return texts;
}

std::map<std::string, NumberTable> load_tables(const Hdf5File& file) {
  const std::string group = "/tables";
  std::map<std::string, NumberTable> tables;
  for (const std::string& path : file.datasets(group)) {
    const std::vector<Index> shape = file.shape(path);
    if (shape.size() != 2) throw InputError(fmt::format("{} has {} dimensions instead of 2", path, shape.size()));
    tables[path.substr(std::min(path.size(), group.size() + 1))] = {shape[0], shape[1], file.read<double>(path)};
  }
  return tables;
}

}  // namespace

bool is_header_group(std::string_view group) {
  return std::find(header_groups.begin(), header_groups.end(), group) != header_groups.end();
}

std::int64_t integer_of(const CheckpointHeader& header, const std::string& name, const std::filesystem::path& file) {
  const auto found = header.integers.find(name);
  if (found != header.integers.end()) return found->second;
  throw InputError(fmt::format("checkpoint '{}' does not say its '{}'", file.string(), name), "use another checkpoint");
}

std::string pack(const CheckpointHeader& header) {
  Packer packer;
  visit(packer, header);
  return packer.bytes;
}

CheckpointHeader unpack(const std::string& bytes) {
  CheckpointHeader header;
  Unpacker unpacker(bytes);
  visit(unpacker, header);
  return header;
}

void store_header(Hdf5File& file, const CheckpointHeader& header) {
  for (const std::string_view group : header_groups) file.create_group(std::string(group));
  store_attributes(file, "/config", header.config);
  store_attributes(file, "/state", header.integers);
  store_attributes(file, "/state", header.numbers);
  store_attributes(file, "/record", header.record);
  for (const auto& [name, table] : header.tables) {
    file.write<double>("/tables/" + name, {table.rows, table.cols}, table.values);
  }
  file.write_attribute("/", checksum_name, checksum(header));
}

CheckpointHeader load_header(const Hdf5File& file) {
  CheckpointHeader header;
  header.config = load_texts(file, "/config");
  header.record = load_texts(file, "/record");
  for (const std::string& name : file.attributes("/state")) {
    if (file.attribute_type("/state", name) == Hdf5Type::float64) {
      header.numbers[name] = file.attribute<double>("/state", name);
    } else {
      header.integers[name] = file.attribute<std::int64_t>("/state", name);
    }
  }
  header.tables = load_tables(file);
  if (checksum(header) != file.attribute<std::uint64_t>("/", checksum_name)) {
    throw InputError(
        fmt::format("'{}' is damaged: what stands in /config, /state, /record and /tables does not match "
                    "its checksum",
                    file.path().string()));
  }
  return header;
}

}  // namespace conclave::train
