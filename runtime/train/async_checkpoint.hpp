// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint that is written while the run goes on.
#pragma once

#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_draft.hpp"

#include <future>
#include <memory>
#include <optional>

namespace conclave::train {

/// The run stops only while each rank copies its parts. Then a helper thread of rank 0 makes the file, which says where
/// all values will stand; a helper of each rank writes its copy to these places, by pwrite; and at last one of rank 0
/// completes the file. MPI belongs to the main thread: what helpers have come to is agreed on at boundaries of steps.
/// The file is the one that write_checkpoint makes, byte for byte. A process that dies before its end leaves a .partial
/// file and the earlier checkpoints.
class AsyncCheckpoint {
 public:
  explicit AsyncCheckpoint(const comm::Communicator& communicator) : communicator_(communicator) {}
  AsyncCheckpoint(const AsyncCheckpoint&) = delete;
  AsyncCheckpoint& operator=(const AsyncCheckpoint&) = delete;
  /// Waits for the helpers. What has not been finished is no checkpoint.
  ~AsyncCheckpoint() = default;

  /// Begins the checkpoint of `step`; returns when the parts may change again. Another one must not be on its way.
  /// InvariantError as write_checkpoint; InputError where memory or threads are lacking. That the file cannot be made
  /// or written is told by advance and finish. Collective.
  void begin(const std::filesystem::path& folder, Index step, const Retention& retention,
             const CheckpointHeader& header, std::span<const TensorPart> parts);
  /// From begin to the end; the same on every rank.
  [[nodiscard]] bool is_on_its_way() const { return draft_ != nullptr; }
  /// Takes it one stage on if all helpers have done theirs: the checkpoint's path once it stands, nothing before.
  /// InputError on every rank, as write_checkpoint: then nothing is on its way any more. A few stages make a
  /// checkpoint. Collective.
  [[nodiscard]] std::optional<std::filesystem::path> advance();
  /// Takes it to its end, waiting for the helpers: as the last of several advance. Collective.
  std::filesystem::path finish();

 private:
  std::vector<TensorPart> copy(std::span<const TensorPart> parts);
  struct Written {
    Failure failure;
    std::vector<std::uint64_t> checksums;  // [tensors], of this rank's parts
  };
  static Written write(const std::filesystem::path& partial, const std::vector<TensorPart>& parts,
                       const std::vector<PlacedValues>& runs);
  /// What the helpers are at.
  enum class Stage { creating, writing, completing };
  [[nodiscard]] bool have_helpers_done() const;
  /// Waits for the helpers and begins the next stage: the path after the last.
  std::optional<std::filesystem::path> go_on();
  void begin_writing();
  void begin_completion();
  /// Lets a helper of rank 0 do `work`. Collective.
  void begin_on_root(std::function<void()> work);
  /// InputError on every rank if rank 0's helper has failed; waits for it.
  void require_root_success();
  void attempt(const std::function<void()>& work);

  const comm::Communicator& communicator_;
  std::unique_ptr<float[]> memory_;  // [capacity_], kept from one checkpoint to the next
  Index capacity_ = 0;
  Retention retention_;
  std::unique_ptr<CheckpointDraft> draft_;
  Stage stage_ = Stage::creating;
  std::vector<TensorPart> copies_;  // of this rank's parts, in memory_; until they are being written
  // Last: their end is waited for before the memory and the draft go.
  std::future<Written> written_;
  std::future<Failure> of_root_;  // rank 0's: the file is made, or completed
};

}  // namespace conclave::train
