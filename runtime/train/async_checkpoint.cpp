// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/async_checkpoint.hpp"

#include "runtime/core/parallel.hpp"

#include <algorithm>

namespace conclave::train {

namespace fs = std::filesystem;

// Cost: one read and one write of the parts in memory, by all threads.
std::vector<TensorPart> AsyncCheckpoint::copy(std::span<const TensorPart> parts) {
  Index elements = 0;
  for (const TensorPart& part : parts) elements += part.held.size();
  if (elements > capacity_) {
    memory_ = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(elements));
    capacity_ = elements;
  }
  std::vector<TensorPart> copies(parts.begin(), parts.end());
  float* at = memory_.get();
  for (TensorPart& part : copies) {
    part.data = at;
    at += part.held.size();
  }
  parallel_for(std::ssize(parts), [&](Index i) {
    const TensorPart& from = parts[static_cast<std::size_t>(i)];
    std::copy_n(from.data, from.held.size(), copies[static_cast<std::size_t>(i)].data);
  });
  return copies;
}

AsyncCheckpoint::Written AsyncCheckpoint::write(const fs::path& partial, const std::vector<TensorPart>& parts,
                                                const std::vector<PlacedValues>& runs) {
  Written written;
  written.failure = failure_of([&] {
    written.checksums = checksums_here(parts);
    const DiskFile file(partial, DiskFile::Access::read_write);
    write_values(file, runs);
    file.sync();
    file.drop_cache();
    read_back(file, runs);
  });
  return written;
}

void AsyncCheckpoint::begin(const fs::path& folder, Index step, const CheckpointHeader& header,
                            std::span<const TensorPart> parts) {
  invariant(!is_on_its_way(), "a checkpoint of step {} begins while another one is on its way", step);
  auto draft = std::make_unique<CheckpointDraft>(communicator_, folder, step, header, parts);
  if (written_.valid()) written_.wait();  // of one that failed to begin on another rank
  draft->attempt([&] {
    draft->create();
    agreed(communicator_, [&] {
      std::vector<TensorPart> copies = copy(parts);
      std::vector<PlacedValues> runs = draft->placed(copies);
      written_ = std::async(std::launch::async, write, draft->partial(), std::move(copies), std::move(runs));
    });
  });
  draft_ = std::move(draft);
}

bool AsyncCheckpoint::is_written() const {
  return communicator_.all(written_.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
}

fs::path AsyncCheckpoint::finish(const Retention& retention) {
  invariant(is_on_its_way(), "no checkpoint is on its way");
  const std::unique_ptr<CheckpointDraft> draft = std::move(draft_);
  const Written written = written_.get();
  draft->attempt([&] {
    communicator_.agree(written.failure.message, written.failure.hint);
    draft->finish(written.checksums, retention);
  });
  return draft->file();
}

}  // namespace conclave::train
