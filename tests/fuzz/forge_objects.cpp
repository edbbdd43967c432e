// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5.hpp"
#include "tests/fuzz/forgery.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>

namespace conclave::fuzz {
namespace {

using train::Hdf5Handle;

/// A file that is being changed, and what there is in it.
struct Target {
  hid_t file;
  std::vector<std::string> datasets;
  std::vector<std::string> groups;
  std::string foreign;
  Draws& draws;

  const std::string& dataset() { return draws.of<std::string>(datasets); }
  const std::string& group() { return draws.of<std::string>(groups); }
};

/// The groups from `top` on, itself included.
std::vector<std::string> groups_of(const train::Hdf5File& file, const std::string& top) {
  std::vector<std::string> found{top};
  for (const std::string& member : file.members(top)) {
    const std::string path = (top == "/" ? "" : top) + "/" + member;
    if (!file.is_group(path)) continue;
    const std::vector<std::string> below = groups_of(file, path);
    found.insert(found.end(), below.begin(), below.end());
  }
  return found;
}

std::string swap_datasets(Target& t) {
  const std::string one = t.dataset();
  const std::string other = t.dataset();
  H5Lmove(t.file, one.c_str(), t.file, "/moved", H5P_DEFAULT, H5P_DEFAULT);
  H5Lmove(t.file, other.c_str(), t.file, one.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  H5Lmove(t.file, "/moved", t.file, other.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  return fmt::format("swaps {} and {}", one, other);
}

std::string remove_object(Target& t) {
  const std::string object = t.draws.one_in(3) ? t.group() : t.dataset();
  H5Ldelete(t.file, object.c_str(), H5P_DEFAULT);
  return "removes " + object;
}

std::string rename_object(Target& t) {
  const std::string object = t.dataset();
  constexpr std::array<const char*, 4> names{"other", "\xff\xfe", "x", ".."};
  const std::string name = t.group() + "/" + t.draws.of<const char*>(names);
  H5Lmove(t.file, object.c_str(), t.file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  return fmt::format("renames {} to {}", object, name);
}

std::string link_elsewhere(Target& t) {
  const std::string object = t.dataset();
  H5Ldelete(t.file, object.c_str(), H5P_DEFAULT);
  switch (t.draws.below(4)) {
    case 0:
      H5Lcreate_external(t.foreign.c_str(), "/", t.file, object.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      return object + " leads to another file";
    case 1:
      H5Lcreate_soft(object.c_str(), t.file, object.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      return object + " leads to itself";
    case 2:
      H5Lcreate_hard(t.file, "/", t.file, object.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      return object + " is the root";
    default:
      H5Lcreate_hard(t.file, t.dataset().c_str(), t.file, object.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      return object + " is another one";
  }
}

hid_t some_type(Draws& draws) {
  const std::array<hid_t, 8> types{H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_STD_I8LE,
                                   H5T_STD_I64LE,  H5T_STD_U64LE,  H5T_C_S1,       H5T_STD_REF_OBJ};
  return draws.of<hid_t>(types);
}

/// Rank and sizes from a scalar to more than a file can hold.
Hdf5Handle some_shape(Draws& draws, bool may_be_huge) {
  if (draws.one_in(8)) return {H5Screate(draws.one_in(2) ? H5S_SCALAR : H5S_NULL), H5Sclose};
  std::array<hsize_t, 6> sizes{};
  const auto rank = static_cast<int>(1 + draws.below(6));
  for (int i = 0; i < rank; ++i) {
    sizes[static_cast<std::size_t>(i)] =
        static_cast<hsize_t>(may_be_huge && draws.one_in(2) ? Index{1} << (20 + draws.below(41)) : draws.below(10));
  }
  return {H5Screate_simple(rank, sizes.data(), nullptr), H5Sclose};
}

/// Contiguous, in chunks, compressed, in another file, or made up of another dataset.
bool choose_storage(Target& t, hid_t creation, hid_t space) {
  const int rank = H5Sget_simple_extent_ndims(space);
  const auto choice = t.draws.below(5);
  if (choice == 1 || choice == 2) {
    std::array<hsize_t, 6> chunk{};
    for (int i = 0; i < rank; ++i)
      chunk[static_cast<std::size_t>(i)] = static_cast<hsize_t>(1 + t.draws.below(1 << t.draws.below(24)));
    if (rank > 0) H5Pset_chunk(creation, rank, chunk.data());
    if (choice == 2) H5Pset_deflate(creation, 9);
  }
  if (choice == 3) H5Pset_external(creation, t.foreign.c_str(), 0, H5F_UNLIMITED);
  if (choice == 4) H5Pset_virtual(creation, space, t.foreign.c_str(), t.dataset().c_str(), space);
  return choice == 0 || rank > 0;
}

void add_checksum(hid_t set, Draws& draws) {
  const Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(H5Acreate2(set, "checksum", H5T_STD_U64LE, scalar.id(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  const auto value = static_cast<std::uint64_t>(draws.below(1 << 30));
  H5Awrite(attribute.id(), H5T_NATIVE_UINT64, &value);
}

std::string make_another(Target& t) {
  const std::string object = t.dataset();
  const bool same_shape = t.draws.one_in(2);
  Hdf5Handle space;
  if (same_shape) {
    const Hdf5Handle set(H5Dopen2(t.file, object.c_str(), H5P_DEFAULT), H5Dclose);
    space = Hdf5Handle(H5Dget_space(set.id()), H5Sclose);
  } else {
    space = some_shape(t.draws, true);
  }
  H5Ldelete(t.file, object.c_str(), H5P_DEFAULT);
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  choose_storage(t, creation.id(), space.id());
  const hid_t type = same_shape ? H5T_IEEE_F32LE : some_type(t.draws);
  const Hdf5Handle set(H5Dcreate2(t.file, object.c_str(), type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                       H5Dclose);
  if (set.id() >= 0) add_checksum(set.id(), t.draws);
  return fmt::format("makes another {} of {}", object, same_shape ? "its shape" : "any shape and type");
}

Hdf5Handle some_text_type(Draws& draws) {
  Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  constexpr std::array<std::size_t, 5> sizes{1, 7, 1000, 60000, H5T_VARIABLE};
  H5Tset_size(type.id(), draws.of<std::size_t>(sizes));
  return type;
}

/// An attribute of another type, shape or value, or none.
std::string change_attribute(Target& t) {
  std::string object = t.draws.one_in(2) ? t.group() : t.dataset();
  const Hdf5Handle owner(H5Oopen(t.file, object.c_str(), H5P_DEFAULT), H5Oclose);
  const int count = owner.id() < 0 ? 0 : H5Aget_num_attrs(owner.id());
  std::string name = "added";
  if (count > 0) {
    std::array<char, 256> buffer{};
    H5Aget_name_by_idx(owner.id(), ".", H5_INDEX_NAME, H5_ITER_NATIVE, static_cast<hsize_t>(t.draws.below(count)),
                       buffer.data(), buffer.size(), H5P_DEFAULT);
    name = buffer.data();
    H5Adelete(owner.id(), name.c_str());
  }
  if (t.draws.one_in(4)) return fmt::format("removes {} of {}", name, object);
  const bool is_text = t.draws.one_in(2);
  const Hdf5Handle text = some_text_type(t.draws);
  const hid_t type = is_text ? text.id() : some_type(t.draws);
  const Hdf5Handle space = some_shape(t.draws, false);
  const Hdf5Handle attribute(H5Acreate2(owner.id(), name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  const bool is_variable = is_text && H5Tis_variable_str(type) > 0;
  const hssize_t values = H5Sget_simple_extent_npoints(space.id());
  if (attribute.id() >= 0 && !is_variable && values > 0 && values < 1000) {
    std::string bytes(static_cast<std::size_t>(values) * H5Tget_size(type), static_cast<char>(t.draws.below(256)));
    H5Awrite(attribute.id(), type, bytes.data());
  }
  return fmt::format("makes another {} of {}", name, object);
}

std::string add_objects(Target& t) {
  std::string path = t.group();
  const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  for (Index depth = 1 + t.draws.below(2000); depth > 0; --depth) path += "/g";
  const Hdf5Handle group(H5Gcreate2(t.file, path.c_str(), links.id(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  return fmt::format("adds {} groups within one another", path.size() / 2);
}

}  // namespace

std::string forge_objects(const std::filesystem::path& file, const std::filesystem::path& foreign, Draws& draws) {
  Target target{{}, {}, {}, foreign.string(), draws};
  {
    const train::Hdf5File sound = train::Hdf5File::open(file);
    target.datasets = sound.datasets("/");
    target.groups = groups_of(sound, "/");
  }
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.id(), H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  const Hdf5Handle opened(H5Fopen(file.c_str(), H5F_ACC_RDWR, access.id()), H5Fclose);
  target.file = opened.id();
  constexpr std::array kinds{swap_datasets, remove_object, rename_object,    link_elsewhere,
                             make_another,  make_another,  change_attribute, add_objects};
  return kinds[static_cast<std::size_t>(draws.below(std::ssize(kinds)))](target);
}

}  // namespace conclave::fuzz
