// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5_calls.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace conclave::train {

Index num_elements(const std::vector<Index>& shape) {
  return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>());
}

namespace detail {

namespace {

/// Whether values of the stored type may be read as `memory` (see Hdf5File).
bool fits(hid_t stored, hid_t memory) {
  const H5T_class_t from = H5Tget_class(stored);
  const H5T_class_t to = H5Tget_class(memory);
  if (to == H5T_FLOAT) {
    const bool wide = H5Tget_size(memory) == sizeof(double);
    return (from == H5T_INTEGER && wide) || (from == H5T_FLOAT && H5Tget_size(stored) <= H5Tget_size(memory));
  }
  if (from != H5T_INTEGER) return false;
  const bool stored_signed = H5Tget_sign(stored) == H5T_SGN_2;
  const bool memory_signed = H5Tget_sign(memory) == H5T_SGN_2;
  if (stored_signed == memory_signed) return H5Tget_size(stored) <= H5Tget_size(memory);
  return memory_signed && H5Tget_size(stored) < H5Tget_size(memory);
}

std::vector<hsize_t> extents(const std::vector<Index>& shape) { return {shape.begin(), shape.end()}; }

/// A block of a tensor whose elements follow one another in row order.
struct Block {
  std::vector<hsize_t> start;
  std::vector<hsize_t> count;
  Index size = 1;  // elements
};

/// The largest block that begins at position `range.begin` and ends within `range` (not empty).
Block first_block(const std::vector<Index>& shape, Range range) {
  // HDF5 and MPI count bytes of one transfer in ints in places: stay far below.
  constexpr Index most_elements = Index{1} << 26;
  Block block{std::vector<hsize_t>(shape.size()), extents(shape), 1};
  const Index room = std::min(range.size(), most_elements);
  bool settled = false;  // whether a dimension has been found that the block takes only a part of
  Index stride = 1;      // elements of one step along dimension k
  for (std::size_t k = shape.size(); k-- > 0; stride *= shape[k]) {
    const Index at = range.begin / stride % shape[k];
    block.start[k] = static_cast<hsize_t>(at);
    const Index take = settled ? 1 : std::min(shape[k] - at, room / stride);
    settled = settled || take < shape[k];
    block.count[k] = static_cast<hsize_t>(take);
    block.size *= take;
  }
  return block;
}

}  // namespace

std::string error_stack() {
  std::vector<std::string> lines;
  const auto collect = [](unsigned, const H5E_error2_t* error, void* into) -> herr_t {
    auto& all = *static_cast<std::vector<std::string>*>(into);
    if (error->desc != nullptr && (all.empty() || all.back() != error->desc)) all.emplace_back(error->desc);
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect, &lines);
  if (lines.empty()) return "HDF5 gives no reason";
  // What was asked for and what stopped it; the layers between say little.
  if (lines.size() > 4) lines.erase(lines.begin() + 1, lines.end() - 3);
  return fmt::format("{}", fmt::join(lines, ": "));
}

Hdf5Handle text_type(std::span<const std::string> texts) {
  // An attribute's own header holds 64 KiB.
  constexpr std::size_t longest_fixed = 32 * 1024;
  std::size_t width = 1;
  for (const std::string& text : texts) width = std::max(width, text.size());
  Hdf5Handle type(check(H5Tcopy(H5T_C_S1), "copy a type"), H5Tclose);
  check(H5Tset_size(type.id(), width <= longest_fixed ? width : H5T_VARIABLE), "set a text's size");
  check(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), "set a text's filling");
  check(H5Tset_cset(type.id(), H5T_CSET_UTF8), "set a text's encoding");
  return type;
}

std::vector<char> text_memory(std::span<const std::string> texts, hid_t type, const std::string& what) {
  const std::size_t width = H5Tget_size(type);  // of a pointer, where the length is variable
  const bool is_variable = H5Tis_variable_str(type) > 0;
  std::vector<char> memory(texts.size() * width);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i];
    if (text.find('\0') != std::string::npos) throw InputError(fmt::format("a text for {} contains a zero byte", what));
    const char* const pointer = text.c_str();
    std::memcpy(memory.data() + i * width, is_variable ? static_cast<const void*>(&pointer) : pointer,
                is_variable ? sizeof(pointer) : text.size());
  }
  return memory;
}

Hdf5Type type_of(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  if (kind == H5T_STRING) return Hdf5Type::text;
  if (kind == H5T_FLOAT && size == sizeof(float)) return Hdf5Type::float32;
  if (kind == H5T_FLOAT && size == sizeof(double)) return Hdf5Type::float64;
  if (kind != H5T_INTEGER) return Hdf5Type::other;
  const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
  if (is_signed && size == sizeof(std::int32_t)) return Hdf5Type::int32;
  if (size == sizeof(std::int64_t)) return is_signed ? Hdf5Type::int64 : Hdf5Type::uint64;
  return Hdf5Type::other;
}

void require_fit(hid_t stored, hid_t memory, const std::string& what) {
  if (fits(stored, memory)) return;
  throw InputError(fmt::format("{} holds {} of {} bytes a value, which does not fit the {} asked for", what,
                               name_of(type_of(stored)), H5Tget_size(stored), name_of(type_of(memory))));
}

Hdf5Handle make_space(const std::vector<Index>& shape) {
  if (shape.empty()) return {check(H5Screate(H5S_SCALAR), "make a scalar"), H5Sclose};
  const std::vector<hsize_t> sizes = extents(shape);
  const hid_t id = H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr);
  return {check(id, "make a shape of {} dimensions", sizes.size()), H5Sclose};
}

std::vector<Index> shape_of(hid_t space) {
  const int rank = check(H5Sget_simple_extent_ndims(space), "read a shape");
  std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
  check(H5Sget_simple_extent_dims(space, sizes.data(), nullptr), "read a shape");
  return {sizes.begin(), sizes.end()};
}

namespace {

/// Memory for texts of variable length, which HDF5 asks for one by one: no more than there is in the file. (Of a
/// dataset; for an attribute, which has one, HDF5 does not ask.)
struct TextRoom {
  hsize_t left = 0;
  std::vector<void*> pieces{};

  static void* take(std::size_t size, void* info) {
    auto& room = *static_cast<TextRoom*>(info);
    if (size > room.left) return nullptr;
    room.left -= size;
    room.pieces.push_back(std::malloc(size));
    return room.pieces.back();
  }
  static void give_back(void* piece, void*) { std::free(piece); }
};

void read_variable_texts(hid_t file, hid_t type, hid_t space, const std::string& what,
                         const std::function<herr_t(hid_t, hid_t, void*)>& read, std::vector<std::string>& texts) {
  TextRoom room;
  check(H5Fget_filesize(file, &room.left), "measure the file of {}", what);
  const Hdf5Handle transfer(check(H5Pcreate(H5P_DATASET_XFER), "create properties"), H5Pclose);
  check(H5Pset_vlen_mem_manager(transfer.id(), TextRoom::take, &room, TextRoom::give_back, nullptr), "choose memory");
  std::vector<char*> pointers(texts.size(), nullptr);
  if (read(type, transfer.id(), pointers.data()) < 0) {
    const std::string reason = error_stack();
    for (void* piece : room.pieces) std::free(piece);
    throw InputError(fmt::format("cannot read {}: {}", what, reason),
                     "the file is damaged, or its texts are longer together than the file: write it again");
  }
  for (std::size_t i = 0; i < texts.size(); ++i) texts[i] = pointers[i] == nullptr ? "" : pointers[i];
  H5Dvlen_reclaim(type, space, H5P_DEFAULT, pointers.data());
}

}  // namespace

std::vector<std::string> read_texts(hid_t file, hid_t type, hid_t space, const std::string& what,
                                    const std::function<herr_t(hid_t, hid_t, void*)>& read) {
  if (H5Tget_class(type) != H5T_STRING) {
    throw InputError(fmt::format("{} holds {}, not text", what, name_of(type_of(type))));
  }
  const auto count = static_cast<std::size_t>(num_elements(shape_of(space)));
  std::vector<std::string> texts(count);
  if (count == 0) return texts;
  if (check(H5Tis_variable_str(type), "ask for the kind of text of {}", what) > 0) {
    read_variable_texts(file, type, space, what, read, texts);
    return texts;
  }
  const std::size_t width = H5Tget_size(type);
  std::string all(count * width, '\0');
  check(read(type, H5P_DEFAULT, all.data()), "read {}", what);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string text = all.substr(i * width, width);
    texts[i] = text.substr(0, text.find('\0'));
    if (H5Tget_strpad(type) == H5T_STR_SPACEPAD) texts[i].erase(texts[i].find_last_not_of(' ') + 1);
  }
  return texts;
}

void for_each_block(hid_t file_space, Range range, const std::string& what,
                    const std::function<herr_t(hid_t, hid_t, Index)>& transfer) {
  const std::vector<Index> shape = shape_of(file_space);
  invariant(0 <= range.begin && range.begin <= range.end && range.end <= num_elements(shape),
            "positions [{}, {}) of {} with {} elements", range.begin, range.end, what, num_elements(shape));
  if (shape.empty()) {
    if (!range.empty()) check(transfer(H5S_ALL, H5S_ALL, 0), "transfer {}", what);
    return;
  }
  for (Index at = range.begin; at < range.end;) {
    const Block block = first_block(shape, {at, range.end});
    check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, block.start.data(), nullptr, block.count.data(), nullptr),
          "select a part of {}", what);
    const Hdf5Handle memory = make_space({block.size});
    check(transfer(memory.id(), file_space, at - range.begin), "transfer elements [{}, {}) of {}", at, at + block.size,
          what);
    at += block.size;
  }
}

}  // namespace detail

}  // namespace conclave::train
