// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint that is written while the run goes on.
#pragma once

#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_draft.hpp"

#include <future>
#include <memory>

namespace conclave::train {

/// The run stops only for the structure of the file, which rank 0 makes with HDF5 and which says where all values will
/// stand, and while each rank copies its parts. Then a helper thread of each rank writes its copy to these places, by
/// pwrite: HDF5 is not thread-safe and MPI belongs to the main thread, so the helper uses neither; ranks agree that
/// all have written at a later boundary of steps. The file is the one that write_checkpoint makes, byte for byte. A
/// process that dies before finish leaves a .partial file and the earlier checkpoints.
class AsyncCheckpoint {
 public:
  explicit AsyncCheckpoint(const comm::Communicator& communicator) : communicator_(communicator) {}
  AsyncCheckpoint(const AsyncCheckpoint&) = delete;
  AsyncCheckpoint& operator=(const AsyncCheckpoint&) = delete;
  /// Waits for the helper. What has not been finished is no checkpoint.
  ~AsyncCheckpoint() = default;

  /// Begins the checkpoint of `step`; returns when the parts may change again. Another one must not be on its way.
  /// InputError and InvariantError as write_checkpoint. Collective.
  void begin(const std::filesystem::path& folder, Index step, const CheckpointHeader& header,
             std::span<const TensorPart> parts);
  /// Between begin and finish; the same on every rank.
  [[nodiscard]] bool is_on_its_way() const { return draft_ != nullptr; }
  /// Whether every rank's helper has done its part, so that finish need not wait. Collective.
  [[nodiscard]] bool is_written() const;
  /// Waits for the helpers, completes the file and returns its path. InputError on every rank, as write_checkpoint;
  /// either way nothing is on its way then. Collective.
  std::filesystem::path finish(const Retention& retention);

 private:
  std::vector<TensorPart> copy(std::span<const TensorPart> parts);
  struct Written {
    Failure failure;
    std::vector<std::uint64_t> checksums;  // [tensors], of this rank's parts
  };
  static Written write(const std::filesystem::path& partial, const std::vector<TensorPart>& parts,
                       const std::vector<PlacedValues>& runs);

  const comm::Communicator& communicator_;
  std::unique_ptr<float[]> memory_;  // [capacity_], kept from one checkpoint to the next
  Index capacity_ = 0;
  std::unique_ptr<CheckpointDraft> draft_;
  std::future<Written> written_;  // last: its end is waited for before the memory goes
};

}  // namespace conclave::train
