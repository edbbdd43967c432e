// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5_guard.hpp"

#include "runtime/train/hdf5_calls.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace conclave::train::detail {

namespace {

#if H5_VERSION_GE(1, 12, 0)
using ObjectInfo = H5O_info1_t;
#else
using ObjectInfo = H5O_info_t;
#endif

/// The largest factor by which deflate, the strongest of HDF5's own compressions, makes bytes fewer.
constexpr double most_compressed = 1032.0;

constexpr const char* misleading = "the file is damaged or was made to mislead: do not use it";

/// Its beginning and its end, which names the file.
std::string shortened(const std::string& what) {
  constexpr std::size_t side = 80;
  return what.size() <= 2 * side ? what : what.substr(0, side) + " … " + what.substr(what.size() - side);
}

void require_chunks_of_bounded_size(hid_t creation, Index value_bytes, const std::string& what) {
  constexpr Index most = Index{1} << 28;
  std::array<hsize_t, H5S_MAX_RANK> sizes{};
  const int rank = check(H5Pget_chunk(creation, H5S_MAX_RANK, sizes.data()), "read the chunks of {}", what);
  double bytes = static_cast<double>(value_bytes);
  for (int i = 0; i < rank; ++i) bytes *= static_cast<double>(sizes[static_cast<std::size_t>(i)]);
  if (bytes <= static_cast<double>(most)) return;
  throw InputError(fmt::format("{} is stored in chunks of {:.3g} bytes; at most {} are read", what, bytes, most),
                   "store it in smaller chunks, e.g. with h5repack --layout");
}

}  // namespace

InputError leads_elsewhere(const std::string& what) {
  return InputError(fmt::format("{} is a link that leads elsewhere; only what stands in the file itself is read", what),
                    "copy what it leads to into the file, e.g. with h5copy");
}

void require_few_steps(const std::string& path, const std::string& what) {
  // Every step is looked up; no file that is meant to be read has names this long.
  constexpr Index most_steps = 32;
  const Index steps = std::count(path.begin(), path.end(), '/');
  if (steps <= most_steps) return;
  throw InputError(fmt::format("{} is nested {} deep; at most {} groups within one another are read", shortened(what),
                               steps, most_steps),
                   misleading);
}

bool is_own_link(hid_t group, const char* name, const std::string& what) {
  H5L_info_t link{};
  if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0) return false;
  if (link.type != H5L_TYPE_HARD) throw leads_elsewhere(what);
  return true;
}

void require_possible_shape(hid_t space, const std::string& what) {
  if (H5Sget_simple_extent_type(space) == H5S_NULL) {
    throw InputError(fmt::format("{} has no value", what), misleading);
  }
  constexpr double most = static_cast<double>(Index{1} << 60);
  double elements = 1.0;
  const std::vector<Index> shape = shape_of(space);
  for (const Index size : shape) {
    const double all = static_cast<double>(static_cast<std::uint64_t>(size));
    elements = all == 0.0 ? elements : elements * all;
    if (size < 0 || elements > most) {
      throw InputError(fmt::format("{} claims the shape [{}], more than a file can hold", what, fmt::join(shape, ", ")),
                       misleading);
    }
  }
}

void require_own_values(hid_t file, hid_t dataset, const std::string& what) {
  const Hdf5Handle creation(check(H5Dget_create_plist(dataset), "read how {} is stored", what), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(creation.id());
  const bool is_here = (layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT) &&
                       check(H5Pget_external_count(creation.id()), "read how {} is stored", what) == 0;
  if (!is_here) {
    throw InputError(fmt::format("{} has its values elsewhere; only what stands in the file itself is read", what),
                     "copy the values into the file, e.g. with h5repack");
  }
  const Hdf5Handle space(check(H5Dget_space(dataset), "read the shape of {}", what), H5Sclose);
  require_possible_shape(space.id(), what);
  const Hdf5Handle type(check(H5Dget_type(dataset), "read the type of {}", what), H5Tclose);
  const auto value_bytes = static_cast<Index>(H5Tget_size(type.id()));
  if (layout == H5D_CHUNKED) require_chunks_of_bounded_size(creation.id(), value_bytes, what);
  hsize_t file_bytes = 0;
  check(H5Fget_filesize(file, &file_bytes), "measure the file of {}", what);
  const double held = static_cast<double>(std::min<hsize_t>(H5Dget_storage_size(dataset), file_bytes));
  const bool is_compressed = check(H5Pget_nfilters(creation.id()), "read the filters of {}", what) > 0;
  const std::vector<Index> shape = shape_of(space.id());
  const double claimed = static_cast<double>(num_elements(shape)) * static_cast<double>(value_bytes);
  if (claimed <= held * (is_compressed ? most_compressed : 1.0)) return;
  throw InputError(fmt::format("{} claims the shape [{}], {:.6g} bytes of values; the file holds {:.6g} of them", what,
                               fmt::join(shape, ", "), claimed, held),
                   "the file is damaged or was never filled: write it again");
}

std::uint64_t address_of(hid_t object, const std::string& what) {
  ObjectInfo info{};
  check(H5Oget_info2(object, &info, H5O_INFO_BASIC), "look at {}", what);
  return info.addr;
}

}  // namespace conclave::train::detail
