// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint.hpp"

#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/seal.hpp"

#include <algorithm>
#include <optional>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

/// Which checkpoint to use instead of `file`, as far as names tell.
std::string earlier_hint(const fs::path& file) {
  const fs::path folder = folder_of(file);
  if (!fs::is_directory(folder)) return {};
  const std::optional<Index> own = step_of(file);
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

}  // namespace

Hdf5File open_checkpoint(const fs::path& path) {
  if (!fs::exists(path)) throw InputError(fmt::format("there is no file '{}'", path.string()));
  require_sealed(path);  // before HDF5 looks at it
  Hdf5File file = Hdf5File::open(path);
  const bool is_checkpoint = file.has_attribute("/", "format") && file.has_attribute("/", "version") &&
                             file.attribute_type("/", "format") == Hdf5Type::text &&
                             file.attribute<std::string>("/", "format") == checkpoint_format;
  if (!is_checkpoint) {
    throw InputError(fmt::format("'{}' is an HDF5 file but not a Conclave checkpoint", path.string()),
                     "give a checkpoint (step-….h5) or the folder of a run");
  }
  const auto version = file.attribute<std::int64_t>("/", "version");
  if (version != checkpoint_version) {
    throw InputError(fmt::format("'{}' is a checkpoint of format version {}; this program reads version {}",
                                 path.string(), version, checkpoint_version),
                     "read it with the version of Conclave that wrote it");
  }
  if (!file.has_attribute("/", "complete") || file.attribute<std::int64_t>("/", "complete") != 1) {
    throw InputError(fmt::format("'{}' is incomplete: its writing was cut short", path.string()));
  }
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
    agreed(communicator, [&] { open_checkpoint(file).close(); });
    read_parts(communicator, file, parts);
  });
}

TensorTotals verify_checkpoint(const comm::Communicator& communicator, const fs::path& file) {
  std::vector<std::string> groups;
  agreed(communicator, [&] {
    const Hdf5File opened = open_checkpoint(file);
    static_cast<void>(load_header(opened));
    for (const std::string& name : opened.members("/")) {
      if (!is_header_group("/" + name)) groups.push_back("/" + name);
    }
  });
  return verify_tensors(communicator, file, groups);
}

namespace {

/// What a folder has, in the order in which it is tried: what `latest` leads to, then the newest first.
std::vector<fs::path> candidates(const fs::path& folder) {
  std::vector<fs::path> files;
  const std::optional<fs::path> latest = latest_of(folder);
  if (latest) files.push_back(*latest);
  for (const StoredStep& stored : stored_steps(folder)) {
    if (!latest || stored.file != *latest) files.push_back(stored.file);
  }
  return files;
}

}  // namespace

FoundCheckpoint newest_checkpoint(const comm::Communicator& communicator, const fs::path& file_or_folder) {
  std::vector<std::string> files;
  bool is_folder = false;
  on_root(communicator, [&] {
    is_folder = fs::is_directory(file_or_folder);
    if (is_folder) {
      for (const fs::path& file : candidates(file_or_folder)) files.push_back(file.string());
    } else if (fs::exists(file_or_folder) || file_or_folder.extension() == ".h5") {
      with_remedy(file_or_folder, [&] { open_checkpoint(file_or_folder).close(); });
      files.push_back(file_or_folder.string());
    }
  });
  is_folder = communicator.any(is_folder);
  files.resize(static_cast<std::size_t>(communicator.max(std::ssize(files))));
  FoundCheckpoint found;
  for (std::string& file : files) {
    file = communicator.broadcast(file);
    const Failure failure = failure_of([&] {
      if (is_folder) static_cast<void>(verify_checkpoint(communicator, file));
    });
    if (failure.message.empty()) {
      found.file = file;
      break;
    }
    found.passed_over.push_back(failure.message);
  }
  return found;
}

}  // namespace conclave::train
