// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5.hpp"
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/fuzz/telling_values.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>

namespace conclave::fuzz {
namespace {

using train::Hdf5File;
using train::Hdf5Handle;
using train::Hdf5Type;

struct Named {
  std::string object;
  std::string attribute;
};

void collect(const Hdf5File& file, const std::string& object, std::vector<Named>& found) {
  for (const std::string& name : file.attributes(object)) found.push_back({object, name});
  if (!file.is_group(object)) return;
  for (const std::string& member : file.members(object)) {
    collect(file, (object == "/" ? "" : object) + "/" + member, found);
  }
}

/// Writes a value over an attribute of any type of number or text; through HDF5 alone, so that it keeps its type.
std::string change_attribute(hid_t file, const Named& named, Draws& draws) {
  const Hdf5Handle attribute(
      H5Aopen_by_name(file, named.object.c_str(), named.attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  std::string said = fmt::format("{} of {} = ", named.attribute, named.object);
  if (H5Tget_class(type.id()) == H5T_FLOAT) {
    const double value = some_real(draws);
    H5Awrite(attribute.id(), H5T_NATIVE_DOUBLE, &value);
    return said + fmt::format("{}", value);
  }
  if (H5Tget_class(type.id()) == H5T_INTEGER) {
    const Index value = some_integer(draws);
    H5Awrite(attribute.id(), H5T_NATIVE_INT64, &value);
    return said + fmt::format("{}", value);
  }
  // A text may be longer than the one before: the attribute is made anew.
  const std::string text = some_text(draws);
  H5Adelete_by_name(file, named.object.c_str(), named.attribute.c_str(), H5P_DEFAULT);
  const Hdf5Handle other(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(other.id(), std::clamp<std::size_t>(text.size(), 1, 60000));
  const Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle made(H5Acreate_by_name(file, named.object.c_str(), named.attribute.c_str(), other.id(), scalar.id(),
                                          H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  if (made.id() >= 0) H5Awrite(made.id(), other.id(), text.c_str());
  return said + "'" + text.substr(0, 100) + "'";
}

/// One to four numbers become others.
template <class T>
std::string change_numbers(hid_t set, hid_t memory, Index count, Draws& draws, T (*some)(Draws&)) {
  std::vector<T> values(static_cast<std::size_t>(count));
  H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  std::string said;
  for (Index changes = 1 + draws.below(4); changes > 0; --changes) {
    const Index at = draws.below(count);
    values[static_cast<std::size_t>(at)] = some(draws);
    said += fmt::format(" [{}] = {}", at, values[static_cast<std::size_t>(at)]);
  }
  H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  return said;
}

std::string change_dataset(hid_t file, const std::string& name, Draws& draws) {
  const Hdf5Handle set(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  const Hdf5Handle type(H5Dget_type(set.id()), H5Tclose);
  const Hdf5Handle space(H5Dget_space(set.id()), H5Sclose);
  const Index count = H5Sget_simple_extent_npoints(space.id());
  if (count < 1) return name + " stays empty";
  if (H5Tget_class(type.id()) == H5T_FLOAT) {
    return name + change_numbers<double>(set.id(), H5T_NATIVE_DOUBLE, count, draws, some_real);
  }
  if (H5Tget_class(type.id()) == H5T_INTEGER) {
    return name + change_numbers<Index>(set.id(), H5T_NATIVE_INT64, count, draws, some_integer);
  }
  if (H5Tis_variable_str(type.id()) > 0) return name + " stays as it is";
  std::string texts(static_cast<std::size_t>(count) * H5Tget_size(type.id()), '\0');
  H5Dread(set.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data());
  const std::string said = damage_in_place(texts, draws);
  H5Dwrite(set.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data());
  return fmt::format("{}: {}", name, said);
}

}  // namespace

std::string forge_values(const std::filesystem::path& file, Draws& draws) {
  std::vector<Named> attributes;
  std::vector<std::string> datasets;
  {
    const Hdf5File sound = Hdf5File::open(file);
    collect(sound, "/", attributes);
    datasets = sound.datasets("/");
  }
  const Hdf5Handle opened(H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  if (!attributes.empty() && draws.one_in(2)) {
    return change_attribute(opened.id(), draws.of<Named>(attributes), draws);
  }
  return change_dataset(opened.id(), draws.of<std::string>(datasets), draws);
}

}  // namespace conclave::fuzz
