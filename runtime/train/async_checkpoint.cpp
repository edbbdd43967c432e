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
    const DiskFile file(partial, DiskFile::Access::read_write);
    write_values(file, runs);
    written.checksums = checksums_here(parts);  // while the disk is at work
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
  if (written_.valid()) written_.wait();  // of one whose writing did not begin on another rank
  draft->attempt([&] {
    agreed(communicator_, [&] { copies_ = copy(parts); });
    // Only then: nothing that can fail comes after it, and it would slow the copy down.
    begin_on_root([made = draft.get()] { made->create(); });
  });
  draft_ = std::move(draft);
  retention_ = retention;
  stage_ = Stage::creating;
}

void AsyncCheckpoint::begin_on_root(std::function<void()> work) {
  agreed(communicator_, [&] {
    if (!communicator_.is_root()) return;
    of_root_ = std::async(std::launch::async, [work = std::move(work)] { return failure_of(work); });
  });
}

void AsyncCheckpoint::require_root_success() {
  Failure failure;
  if (communicator_.is_root()) failure = of_root_.get();
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
  if (stage_ == Stage::writing) return communicator_.all(has_done(written_));
  return communicator_.all(!communicator_.is_root() || has_done(of_root_));
}

void AsyncCheckpoint::begin_writing() {
  attempt([&] {
    require_root_success();
    draft_->share_places();
    agreed(communicator_, [&] {
      std::vector<PlacedValues> runs = draft_->placed(copies_);
      written_ = std::async(std::launch::async, write, draft_->partial(), std::move(copies_), std::move(runs));
    });
  });
  stage_ = Stage::writing;
}

void AsyncCheckpoint::begin_completion() {
  const Written written = written_.get();
  attempt([&] {
    communicator_.agree(written.failure.message, written.failure.hint);
    const std::vector<std::uint64_t> checksums = checksums_of_whole(communicator_, written.checksums);
    begin_on_root([this, checksums] {
      draft_->mark_complete(checksums);
      draft_->put_in_place(retention_);
    });
  });
  stage_ = Stage::completing;
}

std::optional<fs::path> AsyncCheckpoint::go_on() {
  switch (stage_) {
    case Stage::creating:
      begin_writing();
      return {};
    case Stage::writing:
      begin_completion();
      return {};
    case Stage::completing:
      break;
  }
  attempt([&] { require_root_success(); });
  return std::exchange(draft_, nullptr)->file();
}

std::optional<fs::path> AsyncCheckpoint::advance() {
  invariant(is_on_its_way(), "no checkpoint is on its way");
  if (!have_helpers_done()) return {};
  return go_on();
}

fs::path AsyncCheckpoint::finish() {
  invariant(is_on_its_way(), "no checkpoint is on its way");
  for (;;) {
    if (const std::optional<fs::path> file = go_on()) return *file;
  }
}

}  // namespace conclave::train
