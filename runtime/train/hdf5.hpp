// SPDX-License-Identifier: BSD-3-Clause
// HDF5 files by path: objects are named, opened for one call and closed again, so that a file can always be closed (but
// for one group, which the file closes itself).
// Every failure is an InputError with HDF5's own account of it. HDF5 is not thread-safe: while a thread has a file
// open, another one that opens one waits.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/options.hpp"

#include <array>
#include <concepts>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace conclave::train {

/// An open HDF5 object, closed with the handle.
class Hdf5Handle {
 public:
  using Close = int (*)(std::int64_t);
  Hdf5Handle() = default;
  Hdf5Handle(std::int64_t id, Close closes) : id_(id), close_(closes) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, none)), close_(std::exchange(other.close_, nullptr)) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  ~Hdf5Handle() { close(); }

  [[nodiscard]] std::int64_t id() const { return id_; }
  /// Closes now; negative if HDF5 could not. No-op for an empty handle.
  int close() { return id_ < 0 ? 0 : close_(std::exchange(id_, none)); }

 private:
  static constexpr std::int64_t none = -1;
  std::int64_t id_ = none;
  Close close_ = nullptr;
};

/// HDF5 is this thread's for as long as it lives; a thread may have several. To be destroyed by that thread.
class Hdf5Turn {
 public:
  Hdf5Turn() : lock_(mutex()) {}

 private:
  static std::recursive_mutex& mutex();
  std::unique_lock<std::recursive_mutex> lock_;
};

/// What a dataset or an attribute holds.
enum class Hdf5Type { float32, float64, int32, int64, uint64, text, other };

inline constexpr std::array<EnumName<Hdf5Type>, 7> enum_names(Hdf5Type) {
  return {{{Hdf5Type::float32, "float32"},
           {Hdf5Type::float64, "float64"},
           {Hdf5Type::int32, "int32"},
           {Hdf5Type::int64, "int64"},
           {Hdf5Type::uint64, "uint64"},
           {Hdf5Type::text, "text"},
           {Hdf5Type::other, "another type"}}};
}

template <class T>
concept Hdf5Number = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::int64_t> || std::same_as<T, std::uint64_t>;
template <class T>
concept Hdf5Value = Hdf5Number<T> || std::same_as<T, std::string>;

/// An open file. Objects are named by absolute paths ("/params/head"). Numbers are read as T if every value of the
/// stored type is one of T, or is a float64 nearest to it (float32 as double, int32 as int64, integers as double);
/// anything narrower is refused. Texts are UTF-8, of fixed or variable length. A file cannot make its reader read
/// another file, or take more memory than its values need: links other than names, values stored elsewhere, and shapes
/// that the file's bytes cannot fill are refused.
class Hdf5File {
 public:
  /// Read only.
  [[nodiscard]] static Hdf5File open(const std::filesystem::path& path);
  /// To read and to add to.
  [[nodiscard]] static Hdf5File open_writable(const std::filesystem::path& path);
  /// A new file; an existing one is an error. Equal contents written in equal order make equal bytes. `room_bytes` of
  /// disk space are taken at once where the file system can do so, and what is left of them given back by close.
  [[nodiscard]] static Hdf5File create(const std::filesystem::path& path, Index room_bytes = 0);
  /// An existing file, to be written by all ranks through MPI-IO. Collective, as are flush and close of such a file;
  /// write_range and all reads are each rank's own. Nothing may be created in it.
  [[nodiscard]] static Hdf5File open_shared(const comm::Communicator& communicator, const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Hands everything to the operating system; of a shared file, to the disk.
  void flush();
  /// Closes the file and reports what the destructor would have to keep to itself.
  void close();

  [[nodiscard]] bool exists(const std::string& object) const;
  [[nodiscard]] bool is_group(const std::string& object) const;
  /// The names in a group, sorted.
  [[nodiscard]] std::vector<std::string> members(const std::string& group) const;
  /// The absolute paths of all datasets below a group, or of the dataset itself, sorted. InputError where an object has
  /// several names, as in a group that contains itself.
  [[nodiscard]] std::vector<std::string> datasets(const std::string& object) const;
  /// Creates a group and those above it.
  void create_group(const std::string& group);

  [[nodiscard]] bool has_attribute(const std::string& object, const std::string& name) const;
  /// The names of an object's attributes, sorted.
  [[nodiscard]] std::vector<std::string> attributes(const std::string& object) const;
  [[nodiscard]] Hdf5Type attribute_type(const std::string& object, const std::string& name) const;
  template <Hdf5Value T>
  [[nodiscard]] T attribute(const std::string& object, const std::string& name) const;
  /// Adds an attribute; one of that name must not exist.
  template <Hdf5Value T>
  void write_attribute(const std::string& object, const std::string& name, const T& value);

  /// Gives an existing attribute another value, in place: the file does not grow.
  template <Hdf5Number T>
  void rewrite_attribute(const std::string& object, const std::string& name, T value);

  [[nodiscard]] Hdf5Type type(const std::string& dataset) const;
  /// Empty for a scalar.
  [[nodiscard]] std::vector<Index> shape(const std::string& dataset) const;
  /// All values, in row order.
  template <Hdf5Value T>
  [[nodiscard]] std::vector<T> read(const std::string& dataset) const;
  /// Creates a dataset (shape {}: a scalar) and the groups above it, and writes it.
  template <Hdf5Value T>
  void write(const std::string& dataset, const std::vector<Index>& shape, std::span<const T> values);
  /// Creates a contiguous dataset whose place in the file is fixed at once, and returns where its values begin [bytes];
  /// 0 for one without elements. The values are unspecified until written.
  template <Hdf5Number T>
  Index reserve(const std::string& dataset, const std::vector<Index>& shape);
  /// The values at the positions `range`, counted in row order, into or from `values` (range.size() of them).
  template <Hdf5Number T>
  void read_range(const std::string& dataset, Range range, T* values) const;
  template <Hdf5Number T>
  void write_range(const std::string& dataset, Range range, const T* values);

 private:
  struct Group {
    std::string name{};
    Hdf5Handle handle{};
  };
  /// Where an object is looked up, and its name there.
  struct Place {
    std::int64_t group;
    const char* name;
  };
  Hdf5File(Hdf5Turn turn, Hdf5Handle file, std::filesystem::path path)
      : turn_(std::move(turn)), file_(std::move(file)), path_(std::move(path)) {}
  /// Keeps the object's group open: HDF5 takes its time over every step of a path. Valid until the next call.
  [[nodiscard]] Place place(const std::string& name) const;
  void require_own_path(const std::string& name) const;
  [[nodiscard]] Hdf5Handle object(const std::string& name) const;
  [[nodiscard]] Hdf5Handle dataset(const std::string& name) const;
  /// One whose values are all in this file. Not of a shared file.
  [[nodiscard]] Hdf5Handle readable_dataset(const std::string& name) const;
  [[nodiscard]] Hdf5Handle attribute_handle(const std::string& object, const std::string& name) const;
  [[nodiscard]] Hdf5Handle create_dataset(const std::string& name, std::int64_t type, const std::vector<Index>& shape);
  [[nodiscard]] std::string where(const std::string& name) const;

  Hdf5Turn turn_;
  Hdf5Handle file_;
  std::filesystem::path path_;
  mutable std::set<std::string> own_paths_;  // known to lead to nothing outside of the file
  mutable Group group_;                      // of the object that was looked up last; often the next one's too
};

/// The number of elements of a tensor.
[[nodiscard]] Index num_elements(const std::vector<Index>& shape);

}  // namespace conclave::train
