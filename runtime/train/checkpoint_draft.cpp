// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint_draft.hpp"

#include "runtime/train/agreed.hpp"
#include "runtime/train/seal.hpp"

#include <future>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

double mebibytes(Index bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string free_space(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return fmt::format("free space unknown: {}", error.message());
  return fmt::format("{:.1f} MiB free", mebibytes(static_cast<Index>(space.available)));
}

/// About how much disk space a checkpoint takes: its structure too is to find room on a full disk.
Index room_bytes(const CheckpointHeader& header, std::span<const TensorPart> parts) {
  Index bytes = (Index{1} << 17) + 4 * std::ssize(pack(header));
  for (const TensorPart& part : parts) {
    bytes += num_elements(part.shape) * static_cast<Index>(sizeof(float)) + 4 * std::ssize(part.name) + 2048;
  }
  return bytes;
}

/// The header's groups are not for tensors.
void check_names(std::span<const TensorPart> parts) {
  for (const TensorPart& part : parts) {
    const bool is_good = part.name.size() > 1 && part.name[0] == '/' &&
                         !is_header_group(std::string_view(part.name).substr(0, part.name.find('/', 1)));
    invariant(is_good, "a tensor named '{}' in a checkpoint", part.name);
  }
}

std::vector<TensorPart> without_data(std::span<const TensorPart> parts) {
  std::vector<TensorPart> tensors(parts.begin(), parts.end());
  for (TensorPart& tensor : tensors) {
    tensor.held = {};
    tensor.data = nullptr;
  }
  return tensors;
}

}  // namespace

CheckpointDraft::CheckpointDraft(const comm::Communicator& communicator, const fs::path& folder, Index step,
                                 const CheckpointHeader& header, std::span<const TensorPart> parts)
    : communicator_(communicator),
      file_(checkpoint_path(folder, step)),
      partial_(partial_path(folder, step)),
      header_(header),
      tensors_(without_data(parts)),
      room_bytes_(room_bytes(header, parts)),
      offsets_(parts.size()) {
  check_whole(communicator, parts);
  check_names(parts);
}

void CheckpointDraft::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& error) {
    communicator_.barrier();  // the others too have closed the file: its space is free once it is removed
    std::string space;
    if (communicator_.is_root()) {
      std::error_code ignored;
      if (!disk_ || disk_->is_in_place()) fs::remove(partial_, ignored);
      disk_.reset();
      space = fmt::format("about {:.1f} MiB; {}", mebibytes(room_bytes_), free_space(file_.parent_path()));
    }
    space = communicator_.broadcast(space);
    const std::string remedy = "make room there or give another folder; earlier checkpoints are untouched";
    throw InputError(fmt::format("cannot write checkpoint '{}' ({}): {}", file_.string(), space, error.what()),
                     error.hint().empty() ? remedy : error.hint());
  }
}

void CheckpointDraft::create() {
  fs::create_directories(file_.parent_path());
  fs::remove(partial_);
  Hdf5File file = Hdf5File::create(partial_, room_bytes_);
  file.write_attribute("/", "format", std::string(checkpoint_format));
  file.write_attribute("/", "version", checkpoint_version);
  file.write_attribute("/", "complete", std::int64_t{0});
  store_header(file, header_);
  offsets_ = reserve_tensors(file, tensors_);
  file.close();
  disk_.emplace(partial_, DiskFile::Access::read);
}

void CheckpointDraft::share_places() { communicator_.broadcast(std::span<Index>(offsets_)); }

std::vector<PlacedValues> CheckpointDraft::placed(std::span<const TensorPart> parts) const {
  std::vector<PlacedValues> runs;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const TensorPart& part = parts[i];
    if (part.held.empty()) continue;
    runs.push_back({part.name,
                    {part.data, static_cast<std::size_t>(part.held.size())},
                    offsets_[i] + part.held.begin * static_cast<Index>(sizeof(float))});
  }
  return runs;
}

std::vector<Range> CheckpointDraft::ranges_of_values() const {
  std::vector<Range> ranges;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Index bytes = num_elements(tensors_[i].shape) * static_cast<Index>(sizeof(float));
    ranges.push_back({offsets_[i], offsets_[i] + bytes});
  }
  return ranges;
}

void CheckpointDraft::mark_complete(std::span<const std::uint64_t> checksums) const {
  // MPI-IO takes no locks: a job that was thought dead may have put a file of its own here.
  if (!disk_->is_in_place()) {
    throw InputError(fmt::format("another job is writing '{}' at the same time", partial_.string()),
                     "two jobs run in one folder: end one of them, or give each its own");
  }
  Hdf5File file = Hdf5File::open_writable(partial_);
  store_checksums(file, tensors_, checksums);
  file.rewrite_attribute("/", "complete", std::int64_t{1});
  file.close();
  seal(partial_, ranges_of_values());
  disk_->sync();
}

// The seal proves every byte beside the tensors' values, the checksums among them.
void CheckpointDraft::read_structure_back() const {
  disk_->drop_cache();
  if (pack(load_header(open_checkpoint(partial_))) == pack(header_)) return;
  throw InputError(fmt::format("'{}', read back from the disk, is not what was written", partial_.string()),
                   "the disk or the way to it is at fault: give another folder; earlier checkpoints are untouched");
}

void CheckpointDraft::put_in_place(const Retention& retention) const {
  read_structure_back();
  fs::rename(partial_, file_);
  point_latest(file_);
  DiskFile(file_.parent_path(), DiskFile::Access::read).sync();
  prune(file_, retention);
}

fs::path write_checkpoint(const comm::Communicator& communicator, const fs::path& folder, Index step,
                          const Retention& retention, const CheckpointHeader& header,
                          std::span<const TensorPart> parts) {
  CheckpointDraft draft(communicator, folder, step, header, parts);
  draft.attempt([&] {
    on_root(communicator, [&] { draft.create(); });
    draft.share_places();
    const std::vector<std::uint64_t> here = write_parts(communicator, draft.partial(), parts);
    const std::vector<std::uint64_t> checksums = checksums_of_whole(communicator, here);
    agreed(communicator, [&] {
      std::future<void> marked;  // while the disk reads
      if (communicator.is_root()) marked = std::async(std::launch::async, [&] { draft.mark_complete(checksums); });
      const DiskFile file(draft.partial(), DiskFile::Access::read);
      file.drop_cache();
      read_back(file, draft.placed(parts));
      if (marked.valid()) marked.get();
    });
    on_root(communicator, [&] { draft.put_in_place(retention); });
  });
  return draft.file();
}

}  // namespace conclave::train
