// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5_table.hpp"

#include "runtime/train/hdf5_calls.hpp"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace conclave::train {

using namespace detail;

namespace {

constexpr Index value_bytes = 8;  // of a double and of an Index

/// Rows that are stored, and checked, together: about 64 KiB.
Index chunk_rows(const std::vector<Index>& row_shape) {
  return std::clamp<Index>(Index{64} * 1024 / (num_elements(row_shape) * value_bytes), 1, 1024);
}

/// [rows, row_shape...]
std::vector<hsize_t> sizes(hsize_t rows, const std::vector<Index>& row_shape) {
  std::vector<hsize_t> all(row_shape.begin(), row_shape.end());
  all.insert(all.begin(), rows);
  return all;
}

std::int64_t open_to_write(const std::filesystem::path& path) {
  check(H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr), "silence HDF5");  // errors are thrown, not printed
  const Hdf5Handle access(check(H5Pcreate(H5P_FILE_ACCESS), "create properties"), H5Pclose);
  // Since HDF5 1.10 the list of a growing dataset's chunks carries checksums.
  check(H5Pset_libver_bounds(access.id(), H5F_LIBVER_V110, H5F_LIBVER_LATEST), "choose the file format");
#if H5_VERSION_GE(1, 10, 7)
  check(H5Pset_file_locking(access.id(), true, true), "ask for file locks where there are any");
#endif
  return check(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.id()), "open '{}'", path.string());
}

}  // namespace

Index Table::num_rows() const {
  const auto count = std::visit([](const auto& all) { return static_cast<Index>(all.size()); }, values);
  const Index of_row = num_elements(row_shape);
  invariant(of_row > 0 && count % of_row == 0, "{} values for rows of {} in {}", count, of_row, name);
  return count / of_row;
}

void add_rows(Table& table, const Table& more) {
  invariant(table.name == more.name && table.row_shape == more.row_shape && table.values.index() == more.values.index(),
            "rows of {} [{}] added to {} [{}]", more.name, fmt::join(more.row_shape, ", "), table.name,
            fmt::join(table.row_shape, ", "));
  std::visit(
      [&](auto& values) {
        const auto& added = std::get<std::decay_t<decltype(values)>>(more.values);
        values.insert(values.end(), added.begin(), added.end());
      },
      table.values);
}

TableFile::TableFile(std::filesystem::path path) : path_(std::move(path)), file_(open_to_write(path_), H5Fclose) {}

Hdf5Handle TableFile::dataset(const std::string& name) const {
  const hid_t id = H5Dopen2(file_.id(), name.c_str(), H5P_DEFAULT);
  return {check(id, "open {} of '{}'", name, path_.string()), H5Dclose};
}

void TableFile::create(const Table& table) {
  const Hdf5Handle links(check(H5Pcreate(H5P_LINK_CREATE), "create properties"), H5Pclose);
  check(H5Pset_create_intermediate_group(links.id(), 1), "ask for groups");
  const Hdf5Handle creation(check(H5Pcreate(H5P_DATASET_CREATE), "create properties"), H5Pclose);
  check(H5Pset_obj_track_times(creation.id(), false), "leave out times");
  const auto chunk = sizes(static_cast<hsize_t>(chunk_rows(table.row_shape)), table.row_shape);
  check(H5Pset_chunk(creation.id(), static_cast<int>(chunk.size()), chunk.data()), "choose the chunks");
  check(H5Pset_fletcher32(creation.id()), "ask for checksums");
  const auto now = sizes(0, table.row_shape);
  const auto most = sizes(H5S_UNLIMITED, table.row_shape);
  const Hdf5Handle space(check(H5Screate_simple(static_cast<int>(now.size()), now.data(), most.data()), "make a shape"),
                         H5Sclose);
  const hid_t type = table.values.index() == 0 ? stored_type<double>() : stored_type<Index>();
  const hid_t id = H5Dcreate2(file_.id(), table.name.c_str(), type, space.id(), links.id(), creation.id(), H5P_DEFAULT);
  const Hdf5Handle data(check(id, "create {} of '{}'", table.name, path_.string()), H5Dclose);
  const Hdf5Handle scalar = make_space({});
  for (const auto& [name, value] : table.attributes) {
    const std::string what = fmt::format("attribute {} of {}", name, table.name);
    const Hdf5Handle text = text_type({&value, 1});
    const hid_t attribute = H5Acreate2(data.id(), name.c_str(), text.id(), scalar.id(), H5P_DEFAULT, H5P_DEFAULT);
    const Hdf5Handle handle(check(attribute, "create {}", what), H5Aclose);
    check(H5Awrite(handle.id(), text.id(), text_memory({&value, 1}, text.id(), what).data()), "write {}", what);
  }
}

void TableFile::append(const Table& rows) {
  const Index added = rows.num_rows();
  if (added == 0) return;
  const std::string group = rows.name.substr(0, rows.name.rfind('/'));
  const bool is_there = (group.empty() || H5Lexists(file_.id(), group.c_str(), H5P_DEFAULT) > 0) &&
                        H5Lexists(file_.id(), rows.name.c_str(), H5P_DEFAULT) > 0;
  if (!is_there) create(rows);
  const Hdf5Handle data = dataset(rows.name);
  const Hdf5Handle before(check(H5Dget_space(data.id()), "read the shape of {}", rows.name), H5Sclose);
  const std::vector<Index> shape = shape_of(before.id());
  if (shape.empty() || !std::equal(shape.begin() + 1, shape.end(), rows.row_shape.begin(), rows.row_shape.end())) {
    throw InputError(fmt::format("{} of '{}' has the shape [{}], which takes no rows of [{}]", rows.name,
                                 path_.string(), fmt::join(shape, ", "), fmt::join(rows.row_shape, ", ")));
  }
  const Index total = shape[0] + added;
  const auto all = sizes(static_cast<hsize_t>(total), rows.row_shape);
  check(H5Dset_extent(data.id(), all.data()), "lengthen {} of '{}'", rows.name, path_.string());
  const Hdf5Handle space(check(H5Dget_space(data.id()), "read the shape of {}", rows.name), H5Sclose);
  const Index of_row = num_elements(rows.row_shape);
  std::visit(
      [&]<class T>(const std::vector<T>& values) {
        for_each_block(space.id(), {shape[0] * of_row, total * of_row}, rows.name,
                       [&](hid_t memory, hid_t file, Index done) {
                         return H5Dwrite(data.id(), memory_type<T>(), memory, file, H5P_DEFAULT, values.data() + done);
                       });
      },
      rows.values);
}

void TableFile::truncate(const std::string& name, Index rows) {
  const Hdf5Handle data = dataset(name);
  const Hdf5Handle space(check(H5Dget_space(data.id()), "read the shape of {}", name), H5Sclose);
  const std::vector<Index> shape = shape_of(space.id());
  invariant(!shape.empty() && rows <= shape[0], "{} rows of {}, which has [{}]", rows, name, fmt::join(shape, ", "));
  const auto all = sizes(static_cast<hsize_t>(rows), {shape.begin() + 1, shape.end()});
  check(H5Dset_extent(data.id(), all.data()), "cut {} of '{}'", name, path_.string());
}

void TableFile::remove(const std::string& object) {
  if (check(H5Lexists(file_.id(), object.c_str(), H5P_DEFAULT), "look for {}", object) == 0) return;
  check(H5Ldelete(file_.id(), object.c_str(), H5P_DEFAULT), "remove {} of '{}'", object, path_.string());
}

void TableFile::close() { check(file_.close(), "close '{}'", path_.string()); }

Index TableFile::room_bytes(const Table& rows) {
  // Chunks are written whole; the last may be new as well. The rest: the dataset's own structure and the list of
  // chunks.
  constexpr Index structure_bytes = Index{64} * 1024;
  const Index in_chunk = chunk_rows(rows.row_shape);
  const Index chunks = rows.num_rows() / in_chunk + 2;
  return structure_bytes + chunks * (in_chunk * num_elements(rows.row_shape) * value_bytes + 64);
}

void take_room(const std::filesystem::path& path, Index bytes) {
  const auto require = [&](bool holds, const std::string& action) {
    if (holds) return;
    throw InputError(fmt::format("cannot {} '{}': {}", action, path.string(), std::generic_category().message(errno)),
                     "check the folder's rights, free space and quota");
  };
  const int id = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  require(id >= 0, "open");
  const Hdf5Handle closer(id, [](std::int64_t open) { return ::close(static_cast<int>(open)); });
  struct stat status {};
  require(::fstat(id, &status) == 0, "measure");
  const bool is_taken = ::fallocate(id, 0, status.st_size, bytes) == 0;
  require(is_taken || errno == EOPNOTSUPP || errno == ENOSYS,
          fmt::format("take {:.1f} MiB of space for", static_cast<double>(bytes) / (1 << 20)));
}

}  // namespace conclave::train
