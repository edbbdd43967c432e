// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint.hpp"

#include "runtime/train/agreed.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* format_name = "conclave-checkpoint";
constexpr std::int64_t format_version = 1;

constexpr std::string_view name_prefix = "step-";
constexpr std::string_view name_suffix = ".h5";
constexpr std::string_view partial_suffix = ".h5.partial";

fs::path partial_path(const fs::path& folder, Index step) {
  return folder / fmt::format(".{}{:08}{}", name_prefix, step, partial_suffix);
}

/// The step in a checkpoint's file name; nothing for other names.
std::optional<Index> step_of(const std::string& name) {
  if (!name.starts_with(name_prefix) || !name.ends_with(name_suffix)) return {};
  const char* const first = name.data() + name_prefix.size();
  const char* const last = name.data() + name.size() - name_suffix.size();
  Index step = -1;
  const auto [end, error] = std::from_chars(first, last, step);
  if (error != std::errc{} || end != last || step < 0) return {};
  return step;
}

struct StoredStep {
  Index step = 0;
  fs::path file;
};

/// The checkpoints in a folder by their names, newest first.
std::vector<StoredStep> stored_steps(const fs::path& folder) {
  std::vector<StoredStep> steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::optional<Index> step = step_of(entry.path().filename().string());
    if (step) steps.push_back({*step, entry.path()});
  }
  std::sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return steps;
}

/// An open file or folder, for what HDF5 leaves to the system: the disk, and whether a file is still the same one.
class Descriptor {
 public:
  explicit Descriptor(const fs::path& path) : path_(path), id_(::open(path.c_str(), O_RDONLY)) {
    require(id_ >= 0, "open");
  }
  ~Descriptor() {
    if (id_ >= 0) ::close(id_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void sync() const { require(::fsync(id_) == 0 || errno == EINVAL, "bring to the disk"); }
  /// Whether the file's name still leads to this file.
  [[nodiscard]] bool is_in_place() const {
    struct stat by_name {};
    struct stat by_id {};
    return ::stat(path_.c_str(), &by_name) == 0 && ::fstat(id_, &by_id) == 0 && by_name.st_dev == by_id.st_dev &&
           by_name.st_ino == by_id.st_ino;
  }

 private:
  void require(bool holds, const std::string& action) const {
    if (!holds) throw InputError(fmt::format("cannot {} '{}': {}", action, path_.string(), std::strerror(errno)));
  }
  fs::path path_;
  int id_;
};

double mebibytes(Index bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string free_space(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return fmt::format("free space unknown: {}", error.message());
  return fmt::format("{:.1f} MiB free", mebibytes(static_cast<Index>(space.available)));
}

/// Which checkpoint to use instead of `file`, as far as names tell.
std::string earlier_hint(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) return {};
  const std::optional<Index> own = step_of(file.filename().string());
  for (const StoredStep& other : stored_steps(folder)) {
    const bool is_earlier = own ? other.step < *own : other.file.filename() != file.filename();
    if (is_earlier) return fmt::format("use an earlier checkpoint: {} exists", other.file.filename().string());
  }
  return fmt::format("there is no earlier checkpoint in '{}'", folder.string());
}

/// Does `work` with a checkpoint; a failure that names no remedy gets that of an earlier checkpoint.
template <class Work>
auto with_remedy(const fs::path& file, Work&& work) {
  try {
    return work();
  } catch (const InputError& error) {
    throw InputError(error.what(), error.hint().empty() ? earlier_hint(file) : error.hint());
  }
}

/// Opens a checkpoint on this rank alone. InputError if it is not a complete one of this version.
Hdf5File open_checkpoint(const fs::path& path) {
  Hdf5File file = Hdf5File::open(path);
  const bool is_checkpoint = file.has_attribute("/", "format") && file.has_attribute("/", "version") &&
                             file.attribute_type("/", "format") == Hdf5Type::text &&
                             file.attribute<std::string>("/", "format") == format_name;
  if (!is_checkpoint) {
    throw InputError(fmt::format("'{}' is an HDF5 file but not a Conclave checkpoint", path.string()),
                     "give a checkpoint (step-….h5) or the folder of a run");
  }
  const auto version = file.attribute<std::int64_t>("/", "version");
  if (version != format_version) {
    throw InputError(fmt::format("'{}' is a checkpoint of format version {}; this program reads version {}",
                                 path.string(), version, format_version),
                     "read it with the version of Conclave that wrote it");
  }
  if (!file.has_attribute("/", "complete") || file.attribute<std::int64_t>("/", "complete") != 1) {
    throw InputError(fmt::format("'{}' is incomplete: its writing was cut short", path.string()));
  }
  return file;
}

/// About how much disk space a checkpoint takes, rather too much: its structure too is to find room on a full disk.
Index room_bytes(const CheckpointHeader& header, std::span<const TensorPart> parts) {
  Index bytes = (Index{1} << 17) + 4 * std::ssize(pack(header));
  for (const TensorPart& part : parts) {
    bytes += num_elements(part.shape) * static_cast<Index>(sizeof(float)) + 4 * std::ssize(part.name) + 2048;
  }
  return bytes;
}

/// Everything but the tensors' values, with room for those.
void create_partial(const fs::path& partial, const CheckpointHeader& header, std::span<const TensorPart> parts,
                    std::span<const std::uint64_t> checksums) {
  fs::remove(partial);
  Hdf5File file = Hdf5File::create(partial, room_bytes(header, parts));
  file.write_attribute("/", "format", std::string(format_name));
  file.write_attribute("/", "version", format_version);
  file.write_attribute("/", "complete", std::int64_t{0});
  store_header(file, header);
  reserve_tensors(file, parts, checksums);
  file.close();
}

/// Marks the partial file complete and gives it its name, each step on the disk before the next.
void finish(const fs::path& partial, const fs::path& file, const Descriptor& descriptor) {
  // MPI-IO takes no locks: a job that was thought dead may have put a file of its own here.
  if (!descriptor.is_in_place()) {
    throw InputError(fmt::format("another job is writing '{}' at the same time", partial.string()),
                     "two jobs run in one folder: end one of them, or give each its own");
  }
  Hdf5File whole = Hdf5File::open_writable(partial);
  whole.rewrite_attribute("/", "complete", std::int64_t{1});
  whole.close();
  descriptor.sync();
  fs::rename(partial, file);
  Descriptor(file.parent_path()).sync();
}

/// Removes partial files, and all checkpoints but `written` and the newest keep - 1 others.
void prune(const fs::path& written, Index keep) {
  const fs::path folder = written.parent_path();
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(fmt::format(".{}", name_prefix)) && name.ends_with(partial_suffix))
      old.push_back(entry.path());
  }
  Index kept = 1;
  for (const StoredStep& other : stored_steps(folder)) {
    if (other.file.filename() != written.filename() && ++kept > keep) old.push_back(other.file);
  }
  // The new checkpoint stands: an old one that cannot be removed takes space but endangers nothing.
  std::error_code ignored;
  for (const fs::path& file : old) fs::remove(file, ignored);
}

/// The header's groups are not for tensors.
void check_names(std::span<const TensorPart> parts) {
  for (const TensorPart& part : parts) {
    const std::string top = part.name.substr(0, part.name.find('/', 1));
    const bool is_taken = top == "/config" || top == "/state" || top == "/record" || top == "/tables";
    invariant(part.name.size() > 1 && part.name[0] == '/' && !is_taken, "a tensor named '{}' in a checkpoint",
              part.name);
  }
}

}  // namespace

fs::path checkpoint_path(const fs::path& folder, Index step) {
  return (folder.empty() ? fs::path(".") : folder) / fmt::format("{}{:08}{}", name_prefix, step, name_suffix);
}

fs::path write_checkpoint(const comm::Communicator& communicator, const fs::path& folder, Index step, Index keep,
                          const CheckpointHeader& header, std::span<const TensorPart> parts) {
  if (step < 0 || keep < 1) {
    throw InputError(fmt::format("a checkpoint of step {} of which the newest {} are kept", step, keep),
                     "keep at least 1 checkpoint");
  }
  const std::vector<std::uint64_t> checksums = checksums_of_whole(communicator, parts);
  check_names(parts);
  const fs::path file = checkpoint_path(folder, step);
  const fs::path partial = partial_path(file.parent_path(), step);
  std::optional<Descriptor> descriptor;  // of the root
  try {
    on_root(communicator, [&] {
      fs::create_directories(file.parent_path());
      create_partial(partial, header, parts, checksums);
      descriptor.emplace(partial);
      descriptor->sync();
    });
    write_parts(communicator, partial, parts);
    on_root(communicator, [&] { finish(partial, file, *descriptor); });
  } catch (const InputError& error) {
    communicator.barrier();  // the others too have closed the file: its space is free once it is removed
    std::string space;
    if (communicator.is_root()) {
      std::error_code ignored;
      if (!descriptor || descriptor->is_in_place()) fs::remove(partial, ignored);
      descriptor.reset();
      space = fmt::format("about {:.1f} MiB; {}", mebibytes(room_bytes(header, parts)), free_space(file.parent_path()));
    }
    space = communicator.broadcast(space);
    const std::string remedy = "make room there or give another folder; earlier checkpoints are untouched";
    throw InputError(fmt::format("cannot write checkpoint '{}' ({}): {}", file.string(), space, error.what()),
                     error.hint().empty() ? remedy : error.hint());
  }
  on_root(communicator, [&] { prune(file, keep); });
  return file;
}

CheckpointHeader read_header(const comm::Communicator& communicator, const fs::path& file) {
  return with_remedy(file, [&] {
    std::string bytes;
    on_root(communicator, [&] { bytes = pack(load_header(open_checkpoint(file))); });
    return unpack(communicator.broadcast(bytes));
  });
}

void read_tensors(const comm::Communicator& communicator, const fs::path& file, std::span<const TensorPart> parts) {
  with_remedy(file, [&] {
    on_root(communicator, [&] { open_checkpoint(file).close(); });
    read_parts(communicator, file, parts);
  });
}

FoundCheckpoint newest_checkpoint(const comm::Communicator& communicator, const fs::path& file_or_folder) {
  FoundCheckpoint found;
  on_root(communicator, [&] {
    if (!fs::is_directory(file_or_folder)) {
      if (!fs::exists(file_or_folder) && file_or_folder.extension() != name_suffix) return;
      with_remedy(file_or_folder, [&] { open_checkpoint(file_or_folder).close(); });
      found.file = file_or_folder;
      return;
    }
    for (const StoredStep& candidate : stored_steps(file_or_folder)) {
      const Failure failure = failure_of([&] { open_checkpoint(candidate.file).close(); });
      if (failure.message.empty()) {
        found.file = candidate.file;
        return;
      }
      found.passed_over.push_back(failure.message);
    }
  });
  found.file = communicator.broadcast(found.file.string());
  found.passed_over.resize(static_cast<std::size_t>(communicator.max(std::ssize(found.passed_over))));
  for (std::string& reason : found.passed_over) reason = communicator.broadcast(reason);
  return found;
}

}  // namespace conclave::train
