// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5_heap.hpp"

#include "runtime/train/disk_file.hpp"
#include "runtime/train/hdf5_calls.hpp"

#include <cstring>
#include <map>
#include <string_view>

namespace conclave::train::detail {

namespace {

// After the HDF5 File Format Specification, version 2.0, III.E "Global Heap". A heap, here called a collection:
//   "GCOL", version 1, 3 bytes; its size [L bytes]; objects up to its end
// an object, number 0 being what is free:
//   number [2], references [2], 4 bytes, its size [L], its bytes up to a multiple of 8
// and in the dataset for each text:
//   its length [4], the collection's address [A], the object's number [4]
constexpr std::string_view signature{"GCOL\1", 5};
constexpr std::size_t before_size = 8;

std::size_t aligned(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = value << 8U | std::to_integer<std::uint64_t>(bytes[at + i]);
  return value;
}

class TextHeaps {
 public:
  TextHeaps(hid_t file, const std::filesystem::path& path, std::string what)
      : disk_(path, DiskFile::Access::read), what_(std::move(what)) {
    const Hdf5Handle creation(check(H5Fget_create_plist(file), "read how the file of {} is stored", what_), H5Pclose);
    check(H5Pget_sizes(creation.id(), &address_bytes_, &size_bytes_), "read the widths of {}", what_);
    check(H5Pget_userblock(creation.id(), &begin_), "read the beginning of the file of {}", what_);
    check(H5Fget_filesize(file, &file_bytes_), "measure the file of {}", what_);
    left_ = file_bytes_;
    if (address_bytes_ > 8 || size_bytes_ > 8) refuse(0, "addresses or sizes of more than 8 bytes");
  }

  /// Looks up `count` texts that are named from byte `offset` of the file on.
  void require(std::uint64_t offset, std::size_t count) {
    const std::size_t width = 4 + address_bytes_ + 4;
    const std::vector<std::byte> names = bytes_at(offset, count * width);
    for (std::size_t at = 0; at < names.size(); at += width) {
      const std::uint64_t length = number_at(names, at, 4);
      const std::uint64_t address = number_at(names, at + 4, address_bytes_);
      const std::uint64_t number = number_at(names, at + 4 + address_bytes_, 4);
      if (address == 0) continue;  // never written: HDF5 gives no text
      const std::map<std::uint64_t, std::uint64_t>& sizes = sizes_in(address);
      const auto found = sizes.find(number);
      if (found == sizes.end()) refuse(address, fmt::format("has no object {}", number));
      if (found->second == length) continue;
      refuse(address, fmt::format("has {} bytes of object {}, a text of {}", found->second, number, length));
    }
  }

 private:
  [[noreturn]] void refuse(std::uint64_t address, const std::string& reason) const {
    throw InputError(fmt::format("{}: the heap of its texts at {} {}", what_, address, reason),
                     "the file is damaged or was made to mislead: write it again");
  }

  std::vector<std::byte> bytes_at(std::uint64_t offset, std::size_t size) const {
    if (offset > file_bytes_ || size > file_bytes_ - offset) refuse(offset, "lies beyond the file's end");
    std::vector<std::byte> bytes(size);
    disk_.read_at(static_cast<Index>(offset), bytes);
    return bytes;
  }

  /// The sizes of a collection's objects, by number [bytes].
  const std::map<std::uint64_t, std::uint64_t>& sizes_in(std::uint64_t address) {
    const auto [entry, is_new] = sizes_.try_emplace(address);
    if (!is_new) return entry->second;
    if (address > file_bytes_) refuse(address, "lies beyond the file's end");
    const std::size_t header_bytes = aligned(before_size + size_bytes_);
    const std::vector<std::byte> header = bytes_at(begin_ + address, header_bytes);
    if (std::memcmp(header.data(), signature.data(), signature.size()) != 0) refuse(address, "has no signature");
    const std::uint64_t size = number_at(header, before_size, size_bytes_);
    // Sound collections do not overlap.
    if (size < header_bytes || size > left_) refuse(address, fmt::format("claims {} bytes", size));
    left_ -= size;
    const std::vector<std::byte> bytes = bytes_at(begin_ + address, size);
    const std::size_t object_bytes = aligned(before_size + size_bytes_);
    for (std::size_t at = header_bytes; bytes.size() - at >= object_bytes;) {
      const std::uint64_t number = number_at(bytes, at, 2);
      const std::uint64_t held = number_at(bytes, at + before_size, size_bytes_);
      const std::uint64_t room = bytes.size() - at;
      // What is free counts its own beginning.
      const std::uint64_t taken = held > room ? held : number == 0 ? held : object_bytes + aligned(held);
      if (taken < object_bytes || taken > room) {
        refuse(address, fmt::format("claims {} bytes of object {} where there is room for {}", held, number, room));
      }
      if (number != 0) entry->second[number] = held;
      at += taken;
    }
    return entry->second;
  }

  DiskFile disk_;
  std::string what_;
  std::size_t address_bytes_ = 0;  // A
  std::size_t size_bytes_ = 0;     // L
  hsize_t begin_ = 0;              // where addresses are counted from
  hsize_t file_bytes_ = 0;
  hsize_t left_ = 0;  // not in a collection that was looked at
  std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>> sizes_;
};

}  // namespace

void require_sound_texts(hid_t file, hid_t dataset, const std::filesystem::path& path, const std::string& what) {
  const Hdf5Handle creation(check(H5Dget_create_plist(dataset), "read how {} is stored", what), H5Pclose);
  if (H5Pget_layout(creation.id()) != H5D_CONTIGUOUS) return;
  const haddr_t begin = H5Dget_offset(dataset);
  if (begin == HADDR_UNDEF) return;  // without values
  check(H5Fflush(file, H5F_SCOPE_LOCAL), "write out the file of {}", what);
  const Hdf5Handle space(check(H5Dget_space(dataset), "read the shape of {}", what), H5Sclose);
  TextHeaps(file, path, what).require(begin, static_cast<std::size_t>(num_elements(shape_of(space.id()))));
}

}  // namespace conclave::train::detail
