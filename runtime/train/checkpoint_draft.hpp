// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint from its empty structure to the file that has its name: the steps that every way of writing one shares.
#pragma once

#include "runtime/train/checkpoint.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/placed_values.hpp"

#include <functional>
#include <optional>

namespace conclave::train {

/// It is written as .step-00001000.h5.partial and renamed when it stands on the disk, has been read back, and all its
/// checksums match; so a job that dies at any instant leaves the earlier checkpoints and at most one .partial file,
/// which the next successful write removes.
///
/// The steps, in turn: rank 0 makes the file (create); all learn where their values belong (share_places), write them
/// to the disk, and read them back, while rank 0 marks the file complete (mark_complete); rank 0 gives it its name
/// (put_in_place). create, mark_complete and put_in_place are rank 0's alone and use no MPI, so that another thread may
/// do them.
class CheckpointDraft {
 public:
  /// Nothing is written yet. The parts of all ranks must make up every tensor exactly once; names start with a group
  /// other than the header's, which is rank 0's. Collective.
  CheckpointDraft(const comm::Communicator& communicator, const std::filesystem::path& folder, Index step,
                  const CheckpointHeader& header, std::span<const TensorPart> parts);

  [[nodiscard]] const std::filesystem::path& file() const { return file_; }
  [[nodiscard]] const std::filesystem::path& partial() const { return partial_; }

  /// Does some of the steps; if they fail, on whichever rank, the partial file is removed, and InputError on every rank
  /// tells of it, with the free space. Collective.
  void attempt(const std::function<void()>& work);
  /// Makes the partial file with everything but the tensors' values and checksums, and room for those.
  void create();
  /// Lets every rank know where values belong in the created file. Collective.
  void share_places();
  /// Where this rank's values belong.
  [[nodiscard]] std::vector<PlacedValues> placed(std::span<const TensorPart> parts) const;
  /// With every rank's values on the disk: adds the checksums of the whole tensors, marks the file complete, seals it,
  /// and brings that to the disk.
  void mark_complete(std::span<const std::uint64_t> checksums) const;
  /// With every rank's values read back and the file marked: reads back everything else, gives the file its name, lets
  /// `latest` lead to it, and removes what `retention` does not keep.
  void put_in_place(const Retention& retention) const;

 private:
  /// Where the tensors' values stand in the file [bytes].
  [[nodiscard]] std::vector<Range> ranges_of_values() const;
  void read_structure_back() const;

  const comm::Communicator& communicator_;
  std::filesystem::path file_, partial_;
  CheckpointHeader header_;
  std::vector<TensorPart> tensors_;  // without data
  Index room_bytes_;                 // of disk space, rather too much
  std::vector<Index> offsets_;       // [tensors], bytes
  std::optional<DiskFile> disk_;     // of the root: the partial file
};

/// Writes the checkpoint of `step` and returns its path, as CheckpointDraft: all ranks write at once through parallel
/// HDF5. An existing checkpoint of `step` is replaced. InputError on every rank, with the free space, if it cannot be
/// written or is read back otherwise; earlier checkpoints are then untouched. Collective.
std::filesystem::path write_checkpoint(const comm::Communicator& communicator, const std::filesystem::path& folder,
                                       Index step, const Retention& retention, const CheckpointHeader& header,
                                       std::span<const TensorPart> parts);

}  // namespace conclave::train
