// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5.hpp"

#include "comm/mpi/io_hints.hpp"
#include "runtime/train/disk_file.hpp"
#include "runtime/train/hdf5_calls.hpp"
#include "runtime/train/hdf5_guard.hpp"
#include "runtime/train/hdf5_heap.hpp"

#include <algorithm>
#include <set>

namespace conclave::train {

using namespace detail;

namespace {

Hdf5Handle file_access() {
  check(H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr), "silence HDF5");  // errors are thrown, not printed
  Hdf5Handle access(check(H5Pcreate(H5P_FILE_ACCESS), "create properties"), H5Pclose);
  // Since HDF5 1.8 a file carries checksums over its own structure: damage is an error, not a crash.
  check(H5Pset_libver_bounds(access.id(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), "choose the file format");
#if H5_VERSION_GE(1, 10, 7)
  check(H5Pset_file_locking(access.id(), true, true), "ask for file locks where there are any");
#endif
  return access;
}

Hdf5Handle open_file(const std::filesystem::path& path, unsigned flags, const Hdf5Handle& access) {
  if (!std::filesystem::exists(path)) throw InputError(fmt::format("there is no file '{}'", path.string()));
  if (H5Fis_hdf5(path.c_str()) == 0) {
    throw InputError(fmt::format("'{}' is not an HDF5 file, or only the beginning of one", path.string()));
  }
  return {check(H5Fopen(path.c_str(), flags, access.id()), "open '{}'", path.string()), H5Fclose};
}

/// How groups are made: without times, so that equal contents make equal bytes, and with attributes in the group's own
/// header, which a checksum covers as a whole.
Hdf5Handle group_creation(hid_t kind) {
  constexpr unsigned most = 65535;
  Hdf5Handle creation(check(H5Pcreate(kind), "create properties"), H5Pclose);
  check(H5Pset_obj_track_times(creation.id(), false), "leave out times");
  check(H5Pset_attr_phase_change(creation.id(), most, most), "choose the place of attributes");
  return creation;
}

/// The bytes of an HDF5 file without contents.
std::string empty_file() {
  const Hdf5Handle access = file_access();
  check(H5Pset_fapl_core(access.id(), 4096, false), "choose memory");
  const Hdf5Handle creation = group_creation(H5P_FILE_CREATE);
  const hid_t id = H5Fcreate("in memory", H5F_ACC_TRUNC, creation.id(), access.id());
  const Hdf5Handle file(check(id, "create a file in memory"), H5Fclose);
  check(H5Fflush(file.id(), H5F_SCOPE_GLOBAL), "write a file in memory");
  // Not H5Fget_file_image's copy: it changes a byte and so breaks the checksum.
  const auto size = static_cast<std::size_t>(check(H5Fget_file_image(file.id(), nullptr, 0), "measure a file"));
  void* handle = nullptr;
  check(H5Fget_vfd_handle(file.id(), access.id(), &handle), "look at a file in memory");
  return {*static_cast<const char* const*>(handle), size};
}

/// The path of a group's member.
std::string below(const std::string& group, const std::string& member) {
  return group == "/" ? "/" + member : group + "/" + member;
}

/// Adds an object that has been made: what stands above it may be somebody else's link.
void add_made(const std::string& name, std::set<std::string>& own_paths) {
  const std::size_t parent = name.rfind('/');
  if (parent == 0 || own_paths.contains(name.substr(0, parent))) own_paths.insert(name);
}

/// Names given by one of HDF5's iterations.
struct Links {
  std::vector<std::string> names;
  std::vector<std::string> to_elsewhere;
};
herr_t collect_link(hid_t, const char* name, const H5L_info_t* link, void* into) {
  auto& links = *static_cast<Links*>(into);
  (link->type == H5L_TYPE_HARD ? links.names : links.to_elsewhere).emplace_back(name);
  return 0;
}
herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* into) {
  static_cast<std::vector<std::string>*>(into)->emplace_back(name);
  return 0;
}

}  // namespace

std::recursive_mutex& Hdf5Turn::mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  Hdf5Turn turn;
  return {std::move(turn), open_file(path, H5F_ACC_RDONLY, file_access()), path};
}

Hdf5File Hdf5File::open_writable(const std::filesystem::path& path) {
  Hdf5Turn turn;
  return {std::move(turn), open_file(path, H5F_ACC_RDWR, file_access()), path};
}

Hdf5File Hdf5File::open_shared(const comm::Communicator& communicator, const std::filesystem::path& path) {
  Hdf5Turn turn;
  const Hdf5Handle access = file_access();
  check(H5Pset_fapl_mpio(access.id(), communicator.handle(), comm::no_info()), "choose MPI-IO");
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, access.id());
  return {std::move(turn), Hdf5Handle(check(file, "open '{}' on all ranks", path.string()), H5Fclose), path};
}

Hdf5File Hdf5File::create(const std::filesystem::path& path, Index room_bytes) {
  const Hdf5Turn turn;
  // HDF5 cannot get rid of a file that it could not write to: it crashes at the program's end. So the beginning of the
  // file is made in memory, and put on the disk, with the room asked for, by calls that can fail.
  write_new_file(path, empty_file(), room_bytes);
  return open_writable(path);
}

void Hdf5File::flush() { check(H5Fflush(file_.id(), H5F_SCOPE_GLOBAL), "write out '{}'", path_.string()); }

void Hdf5File::close() {
  group_ = {};
  check(file_.close(), "close '{}'", path_.string());
}

std::string Hdf5File::where(const std::string& name) const { return fmt::format("{} of '{}'", name, path_.string()); }

Hdf5File::Place Hdf5File::place(const std::string& name) const {
  const std::size_t slash = name.rfind('/');
  if (slash == 0 || slash == std::string::npos) return {file_.id(), name.c_str()};
  if (group_.name.size() != slash || name.compare(0, slash, group_.name) != 0) {
    std::string parent = name.substr(0, slash);
    const hid_t id = H5Gopen2(file_.id(), parent.c_str(), H5P_DEFAULT);
    if (id < 0) return {file_.id(), name.c_str()};  // no such group: told by who opens the object
    group_ = {std::move(parent), Hdf5Handle(id, H5Gclose)};
  }
  return {group_.handle.id(), name.c_str() + slash + 1};
}

void Hdf5File::require_own_path(const std::string& name) const {
  if (name == "/" || own_paths_.contains(name)) return;
  require_few_steps(name, where(name));
  for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string step = name.substr(0, end);
    if (!own_paths_.contains(step)) {
      const Place at = place(step);
      if (!is_own_link(at.group, at.name, where(name))) return;  // told by who opens the object
      own_paths_.insert(step);
    }
    if (end == std::string::npos) return;
  }
}

Hdf5Handle Hdf5File::object(const std::string& name) const {
  require_own_path(name);
  const Place at = place(name);
  return {check(H5Oopen(at.group, at.name, H5P_DEFAULT), "open {}", where(name)), H5Oclose};
}

// Without a look at the path: in a shared file, ranks that look up unequal numbers of links end in different places.
Hdf5Handle Hdf5File::dataset(const std::string& name) const {
  const Place at = place(name);
  return {check(H5Dopen2(at.group, at.name, H5P_DEFAULT), "open dataset {}", where(name)), H5Dclose};
}

Hdf5Handle Hdf5File::readable_dataset(const std::string& name) const {
  require_own_path(name);
  Hdf5Handle handle = dataset(name);
  require_own_values(file_.id(), handle.id(), where(name));
  return handle;
}

bool Hdf5File::exists(const std::string& name) const {
  // HDF5 asks for every step of the path by itself.
  for (std::size_t end = name.find('/', 1); name != "/"; end = name.find('/', end + 1)) {
    const std::string step = name.substr(0, end);
    const bool is_there = own_paths_.contains(step) ||
                          check(H5Lexists(file_.id(), step.c_str(), H5P_DEFAULT), "look for {}", where(step)) > 0;
    if (!is_there) return false;
    if (end == std::string::npos) break;
  }
  return true;
}

bool Hdf5File::is_group(const std::string& name) const { return H5Iget_type(object(name).id()) == H5I_GROUP; }

std::vector<std::string> Hdf5File::members(const std::string& group) const {
  Links links;
  const Hdf5Handle handle = object(group);
  // Sorted here: to have HDF5 1.10 sort the names of a damaged group is to have it crash.
  check(H5Literate(handle.id(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, collect_link, &links), "list {}", where(group));
  if (!links.to_elsewhere.empty()) throw leads_elsewhere(where(below(group, links.to_elsewhere.front())));
  std::sort(links.names.begin(), links.names.end());
  return std::move(links.names);
}

std::vector<std::string> Hdf5File::datasets(const std::string& top) const {
  std::vector<std::string> found;
  std::vector<std::string> open{top};
  std::set<std::uint64_t> seen;
  while (!open.empty()) {
    const std::string path = std::move(open.back());
    open.pop_back();
    // A group within itself has no end.
    if (!seen.insert(address_of(object(path).id(), where(path))).second) {
      throw InputError(fmt::format("{} has another name too, or contains itself", where(path)),
                       "the file is damaged or was made to mislead: do not use it");
    }
    if (!is_group(path)) {
      found.push_back(path);
      continue;
    }
    for (const std::string& member : members(path)) open.push_back(below(path, member));
  }
  std::sort(found.begin(), found.end());
  return found;
}

void Hdf5File::create_group(const std::string& group) {
  // One by one from the top: groups that HDF5 adds by itself on the way remember the time.
  const std::size_t parent = group.rfind('/');
  if (parent != std::string::npos && parent > 0 && !exists(group.substr(0, parent))) {
    create_group(group.substr(0, parent));
  }
  const Hdf5Handle creation = group_creation(H5P_GROUP_CREATE);
  const hid_t id = H5Gcreate2(file_.id(), group.c_str(), H5P_DEFAULT, creation.id(), H5P_DEFAULT);
  const Hdf5Handle handle(check(id, "create group {}", where(group)), H5Gclose);
  add_made(group, own_paths_);
}

bool Hdf5File::has_attribute(const std::string& name, const std::string& attribute) const {
  return check(H5Aexists(object(name).id(), attribute.c_str()), "look for attribute {} of {}", attribute, where(name)) >
         0;
}

std::vector<std::string> Hdf5File::attributes(const std::string& name) const {
  std::vector<std::string> names;
  const Hdf5Handle handle = object(name);
  check(H5Aiterate2(handle.id(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, collect_attribute, &names),
        "list the attributes of {}", where(name));
  std::sort(names.begin(), names.end());
  return names;
}

Hdf5Handle Hdf5File::attribute_handle(const std::string& name, const std::string& attribute) const {
  const hid_t id = H5Aopen(object(name).id(), attribute.c_str(), H5P_DEFAULT);
  return {check(id, "open attribute {} of {}", attribute, where(name)), H5Aclose};
}

Hdf5Type Hdf5File::attribute_type(const std::string& name, const std::string& attribute) const {
  const Hdf5Handle handle = attribute_handle(name, attribute);
  return type_of(Hdf5Handle(H5Aget_type(handle.id()), H5Tclose).id());
}

template <Hdf5Value T>
T Hdf5File::attribute(const std::string& name, const std::string& attribute_name) const {
  const std::string what = fmt::format("attribute {} of {}", attribute_name, where(name));
  const Hdf5Handle handle = attribute_handle(name, attribute_name);
  const Hdf5Handle type(check(H5Aget_type(handle.id()), "read the type of {}", what), H5Tclose);
  const Hdf5Handle space(check(H5Aget_space(handle.id()), "read the shape of {}", what), H5Sclose);
  require_possible_shape(space.id(), what);
  const Index count = num_elements(shape_of(space.id()));
  if (count != 1) throw InputError(fmt::format("{} has {} values; one was expected", what, count));
  if constexpr (std::same_as<T, std::string>) {
    return read_texts(file_.id(), type.id(), space.id(), what,
                      [&](hid_t memory, hid_t, void* into) { return H5Aread(handle.id(), memory, into); })[0];
  } else {
    require_fit(type.id(), memory_type<T>(), what);
    T value{};
    check(H5Aread(handle.id(), memory_type<T>(), &value), "read {}", what);
    return value;
  }
}

template <Hdf5Value T>
void Hdf5File::write_attribute(const std::string& name, const std::string& attribute_name, const T& value) {
  const std::string what = fmt::format("attribute {} of {}", attribute_name, where(name));
  const Hdf5Handle owner = object(name);
  const Hdf5Handle space = make_space({});
  const auto create = [&](hid_t type) {
    const hid_t id = H5Acreate2(owner.id(), attribute_name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT);
    return Hdf5Handle(check(id, "create {}", what), H5Aclose);
  };
  if constexpr (std::same_as<T, std::string>) {
    const Hdf5Handle type = text_type({&value, 1});
    check(H5Awrite(create(type.id()).id(), type.id(), text_memory({&value, 1}, type.id(), what).data()), "write {}",
          what);
  } else {
    check(H5Awrite(create(stored_type<T>()).id(), memory_type<T>(), &value), "write {}", what);
  }
}

template <Hdf5Number T>
void Hdf5File::rewrite_attribute(const std::string& name, const std::string& attribute_name, T value) {
  const Hdf5Handle handle = attribute_handle(name, attribute_name);
  check(H5Awrite(handle.id(), memory_type<T>(), &value), "write attribute {} of {}", attribute_name, where(name));
}

Hdf5Type Hdf5File::type(const std::string& name) const {
  const Hdf5Handle handle = readable_dataset(name);
  return type_of(Hdf5Handle(H5Dget_type(handle.id()), H5Tclose).id());
}

std::vector<Index> Hdf5File::shape(const std::string& name) const {
  const Hdf5Handle handle = readable_dataset(name);
  return shape_of(Hdf5Handle(H5Dget_space(handle.id()), H5Sclose).id());
}

template <Hdf5Value T>
std::vector<T> Hdf5File::read(const std::string& name) const {
  if constexpr (std::same_as<T, std::string>) {
    const Hdf5Handle handle = readable_dataset(name);
    const Hdf5Handle type(check(H5Dget_type(handle.id()), "read the type of {}", where(name)), H5Tclose);
    const Hdf5Handle space(check(H5Dget_space(handle.id()), "read the shape of {}", where(name)), H5Sclose);
    if (H5Tis_variable_str(type.id()) > 0) require_sound_texts(file_.id(), handle.id(), path_, where(name));
    return read_texts(file_.id(), type.id(), space.id(), where(name), [&](hid_t memory, hid_t transfer, void* into) {
      return H5Dread(handle.id(), memory, H5S_ALL, H5S_ALL, transfer, into);
    });
  } else {
    std::vector<T> values(static_cast<std::size_t>(num_elements(shape(name))));
    read_range(name, {0, static_cast<Index>(values.size())}, values.data());
    return values;
  }
}

Hdf5Handle Hdf5File::create_dataset(const std::string& name, std::int64_t type, const std::vector<Index>& shape) {
  const std::string group = name.substr(0, std::max<std::size_t>(name.rfind('/'), 1));
  if (group != "/" && !exists(group)) create_group(group);
  const Hdf5Handle creation(check(H5Pcreate(H5P_DATASET_CREATE), "create properties"), H5Pclose);
  check(H5Pset_obj_track_times(creation.id(), false), "leave out times");
  check(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), "ask for space at once");
  const bool is_variable = H5Tis_variable_str(type) > 0;  // holds references, which must not be garbage
  check(H5Pset_fill_time(creation.id(), is_variable ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER), "choose the filling");
  const Hdf5Handle space = make_space(shape);
  const Place at = place(name);
  const hid_t id = H5Dcreate2(at.group, at.name, type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT);
  Hdf5Handle handle(check(id, "create dataset {}", where(name)), H5Dclose);
  add_made(name, own_paths_);
  return handle;
}

template <Hdf5Value T>
void Hdf5File::write(const std::string& name, const std::vector<Index>& shape, std::span<const T> values) {
  invariant(static_cast<Index>(values.size()) == num_elements(shape), "{} values for the {} elements of {}",
            values.size(), num_elements(shape), name);
  if constexpr (std::same_as<T, std::string>) {
    const Hdf5Handle type = text_type(values);
    const Hdf5Handle handle = create_dataset(name, type.id(), shape);
    if (values.empty()) return;
    const std::vector<char> memory = text_memory(values, type.id(), where(name));
    check(H5Dwrite(handle.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, memory.data()), "write {}", where(name));
  } else {
    reserve<T>(name, shape);
    write_range(name, {0, static_cast<Index>(values.size())}, values.data());
  }
}

template <Hdf5Number T>
Index Hdf5File::reserve(const std::string& name, const std::vector<Index>& shape) {
  const Hdf5Handle handle = create_dataset(name, stored_type<T>(), shape);
  if (num_elements(shape) == 0) return 0;
  const haddr_t offset = H5Dget_offset(handle.id());
  invariant(offset != HADDR_UNDEF, "a contiguous dataset without a place: {}", name);
  return static_cast<Index>(offset);
}

template <Hdf5Number T>
void Hdf5File::read_range(const std::string& name, Range range, T* values) const {
  const Hdf5Handle handle = readable_dataset(name);
  const Hdf5Handle type(check(H5Dget_type(handle.id()), "read the type of {}", where(name)), H5Tclose);
  require_fit(type.id(), memory_type<T>(), where(name));
  const Hdf5Handle space(check(H5Dget_space(handle.id()), "read the shape of {}", where(name)), H5Sclose);
  for_each_block(space.id(), range, where(name), [&](hid_t memory, hid_t file, Index done) {
    return H5Dread(handle.id(), memory_type<T>(), memory, file, H5P_DEFAULT, values + done);
  });
}

template <Hdf5Number T>
void Hdf5File::write_range(const std::string& name, Range range, const T* values) {
  const Hdf5Handle handle = dataset(name);
  const Hdf5Handle space(check(H5Dget_space(handle.id()), "read the shape of {}", where(name)), H5Sclose);
  for_each_block(space.id(), range, where(name), [&](hid_t memory, hid_t file, Index done) {
    return H5Dwrite(handle.id(), memory_type<T>(), memory, file, H5P_DEFAULT, values + done);
  });
}

#define CONCLAVE_INSTANTIATE_VALUE(T)                                                           \
  template T Hdf5File::attribute<T>(const std::string&, const std::string&) const;              \
  template void Hdf5File::write_attribute<T>(const std::string&, const std::string&, const T&); \
  template std::vector<T> Hdf5File::read<T>(const std::string&) const;                          \
  template void Hdf5File::write<T>(const std::string&, const std::vector<Index>&, std::span<const T>)
#define CONCLAVE_INSTANTIATE_NUMBER(T)                                                     \
  CONCLAVE_INSTANTIATE_VALUE(T);                                                           \
  template void Hdf5File::rewrite_attribute<T>(const std::string&, const std::string&, T); \
  template Index Hdf5File::reserve<T>(const std::string&, const std::vector<Index>&);      \
  template void Hdf5File::read_range<T>(const std::string&, Range, T*) const;              \
  template void Hdf5File::write_range<T>(const std::string&, Range, const T*)

CONCLAVE_INSTANTIATE_VALUE(std::string);
CONCLAVE_INSTANTIATE_NUMBER(float);
CONCLAVE_INSTANTIATE_NUMBER(double);
CONCLAVE_INSTANTIATE_NUMBER(std::int32_t);
CONCLAVE_INSTANTIATE_NUMBER(std::int64_t);
CONCLAVE_INSTANTIATE_NUMBER(std::uint64_t);

}  // namespace conclave::train
