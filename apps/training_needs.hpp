// SPDX-License-Identifier: BSD-3-Clause
// What a training needs of a machine, before it runs there.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/model/memory_need.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/options.hpp"

#include <filesystem>
#include <map>
#include <memory>

namespace conclave::apps {

/// What a training run with these options needs on this rank, and the model alone, for use without its optimizer, on
/// data of this shape. Nothing of the model is made.
[[nodiscard]] std::vector<plan::MemoryItem> training_memory(const train::TrainOptions& options,
                                                            const model::DataShape& shape,
                                                            const model::Transport& transport,
                                                            const comm::Communicator& world);
[[nodiscard]] std::vector<plan::MemoryItem> model_memory(const train::TrainOptions& options,
                                                         const model::DataShape& shape,
                                                         const model::Transport& transport,
                                                         const comm::Communicator& world);

/// Bytes that the rank that needs most keeps beside the program itself, by formula, on the ranks of `topology`, which
/// may be others than those that ask. Collective over these.
[[nodiscard]] double fullest_rank_bytes(const train::TrainOptions& options, const model::DataShape& shape,
                                        const plan::Topology& topology, Index threads,
                                        const comm::Communicator& asking);

/// Bytes that the rank that needs most of up to 16 keeps, which stand for ranks that are too many to ask each of them:
/// the first, whose shares are the largest, and others at even distances. `transport` as planned for rank 0.
[[nodiscard]] double sampled_rank_bytes(const train::TrainOptions& options, const model::DataShape& shape,
                                        const plan::RowTransport& transport, Index threads);

/// What a run's record tells of its speed.
struct MeasuredRun {
  Index ranks = 0;
  Index threads = 0;  // of a rank
  Index steps = 0;    // that the median is over
  double step_s = 0.0;
  std::optional<double> save_s;               // for which a save stopped the run; nothing: it saved at its end alone
  std::map<std::string, std::string> config;  // its options
};

/// The first of so many steps that counts: those before, a tenth, warm up.
[[nodiscard]] constexpr Index steady_from(Index steps) { return steps > 1 ? (steps + 9) / 10 : 0; }

/// From run.h5 in the folder of a run: the median of its steps but for the first tenth. InputError where there is none,
/// or no step in it.
[[nodiscard]] MeasuredRun measured_run(const std::filesystem::path& folder);

/// Seconds that a training takes which does as many steps as the options say: the steps, the saves, and beside them a
/// tenth and ten minutes for its start, its evaluations and what was not measured.
[[nodiscard]] double training_seconds(const train::TrainOptions& options, double step_s, std::optional<double> save_s);

}  // namespace conclave::apps
