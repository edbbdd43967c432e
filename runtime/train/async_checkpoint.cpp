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

void AsyncCheckpoint::begin(const fs::path& folder, Index step, const Retention& retention,
                            const CheckpointHeader& header, std::span<const TensorPart> parts) {
  invariant(!is_on_its_way(), "a checkpoint of step {} begins while another one is on its way", step);
  auto draft = std::make_unique<CheckpointDraft>(communicator_, folder, step, header, parts);
  if (written_.valid()) written_.wait();  // of one that failed to begin on another rank
  draft->attempt([&] {
    std::future<Failure> created;
    if (communicator_.is_root()) {
      created = std::async(std::launch::async, [&] { return failure_of([&] { draft->create(); }); });
    }
    std::vector<TensorPart> copies;
    agreed(communicator_, [&] { copies = copy(parts); });
    require_success(created);
    draft->share_places();
    agreed(communicator_, [&] {
      std::vector<PlacedValues> runs = draft->placed(copies);
      written_ = std::async(std::launch::async, write, draft->partial(), std::move(copies), std::move(runs));
    });
  });
  draft_ = std::move(draft);
  retention_ = retention;
  is_completing_ = false;
}

void AsyncCheckpoint::require_success(std::future<Failure>& of_root) {
  Failure failure;
  if (communicator_.is_root()) failure = of_root.get();
  communicator_.agree(failure.message, failure.hint);
}

// What fails is over.
void AsyncCheckpoint::attempt(const std::function<void()>& work) {
  try {
    draft_->attempt(work);
  } catch (...) {
    draft_.reset();
    throw;
  }
}

bool AsyncCheckpoint::have_helpers_done() const {
  const auto has_done = [](const auto& future) {
    return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  if (!is_completing_) return communicator_.all(has_done(written_));
  return communicator_.all(!communicator_.is_root() || has_done(completed_));
}

void AsyncCheckpoint::begin_completion() {
  const Written written = written_.get();
  attempt([&] {
    communicator_.agree(written.failure.message, written.failure.hint);
    const std::vector<std::uint64_t> checksums = checksums_of_whole(communicator_, written.checksums);
    if (!communicator_.is_root()) return;
    completed_ = std::async(std::launch::async,
                            [this, checksums] { return failure_of([&] { draft_->complete(checksums, retention_); }); });
  });
  is_completing_ = true;
}

fs::path AsyncCheckpoint::end() {
  attempt([&] { require_success(completed_); });
  return std::exchange(draft_, nullptr)->file();
}

std::optional<fs::path> AsyncCheckpoint::advance() {
  invariant(is_on_its_way(), "no checkpoint is on its way");
  if (!have_helpers_done()) return {};
  if (is_completing_) return end();
  begin_completion();
  return {};
}

fs::path AsyncCheckpoint::finish() {
  invariant(is_on_its_way(), "no checkpoint is on its way");
  if (!is_completing_) begin_completion();
  return end();
}

}  // namespace conclave::train
