// SPDX-License-Identifier: BSD-3-Clause
// A training run's options as the sizes that the simulator prices.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/sim/workload.hpp"
#include "runtime/train/options.hpp"

namespace conclave::apps {

/// A step of such a run on data of this shape, with one wave of experts: how many there are depends on the ranks.
/// Options must be valid. InputError, naming the option, for what the simulator does not know: classifiers, experts
/// that share a base, parts that are frozen.
[[nodiscard]] sim::Workload training_workload(const train::TrainOptions& options, const model::DataShape& shape);

/// The same sizes of any run, also of what the simulator does not know: to divide phases that were measured between
/// ranks and placements by, not to predict them.
[[nodiscard]] sim::Workload workload_sizes(const train::TrainOptions& options, const model::DataShape& shape);

/// InputError unless made-up popularity says where tokens go: routers other than topk decide by more than that, and so
/// do re-routing and policies for second choices. A recorded trace tells it of any router.
void refuse_router_without_trace(const train::TrainOptions& options);

}  // namespace conclave::apps
