// SPDX-License-Identifier: BSD-3-Clause
#include "apps/training_needs.hpp"

#include "apps/bench_report.hpp"
#include "comm/plan/memory_need.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/hdf5.hpp"
#include "runtime/train/optimizer.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

// A number of the record; nothing if it has none of that name.
template <class Number>
std::optional<Number> recorded(const train::Hdf5File& file, const std::string& name) {
  if (!file.has_attribute("/record", name)) return std::nullopt;
  return parse_number<Number>(file.attribute<std::string>("/record", name));
}

// The times of the steps that count.
Timings steady(std::vector<double> seconds) {
  seconds.erase(seconds.begin(), seconds.begin() + steady_from(std::ssize(seconds)));
  return {std::move(seconds)};
}

void refuse_impossible_times(const train::Hdf5File& file, const MeasuredRun& run, const std::vector<double>& seconds) {
  const auto refuse_unless_time = [&](double value, std::string_view what) {
    if (std::isfinite(value) && value >= 0.0) return;
    throw InputError(fmt::format("'{}' has {} s as the time of a {}", file.path().string(), value, what),
                     "name the folder of another run, or give --step-time or --time");
  };
  for (const double value : seconds) refuse_unless_time(value, "step");
  if (run.save_s) refuse_unless_time(*run.save_s, "save");
}

model::RunSizes training_sizes(const train::TrainOptions& options, const plan::RowTransport& transport, Index threads) {
  return {.transport = transport,
          .groups_in_pass = options.groups_in_pass(),
          .group_rows = options.sequences_in_group() * options.tokens_in_sample(),
          .num_states = std::ssize(train::make_optimizer(options.optimizer)->states()),
          .threads = threads,
          .checkpoint_copy = options.checkpoint_async,
          .replicas = options.placement_replicas};
}

double most_bytes(const train::TrainOptions& options, const model::DataShape& shape, const model::RunSizes& sizes,
                  std::span<const RankId> ranks) {
  double most = 0.0;
  for (const auto& items : model::memory_needs(options.model, shape, sizes, ranks)) {
    most = std::max(most, plan::total_bytes(items));
  }
  return most;
}

}  // namespace

std::vector<plan::MemoryItem> training_memory(const train::TrainOptions& options, const model::DataShape& shape,
                                              const model::Transport& transport, const comm::Communicator& world) {
  const model::RunSizes sizes = training_sizes(options, transport.row_transport(), num_threads());
  return model::memory_need(options.model, shape, sizes, world.rank());
}

std::vector<plan::MemoryItem> model_memory(const train::TrainOptions& options, const model::DataShape& shape,
                                           const model::Transport& transport, const comm::Communicator& world) {
  model::RunSizes sizes = training_sizes(options, transport.row_transport(), num_threads());
  sizes.num_states = 0;
  sizes.checkpoint_copy = false;
  sizes.replicas = 0;
  return model::memory_need(options.model, shape, sizes, world.rank());
}

double fullest_rank_bytes(const train::TrainOptions& options, const model::DataShape& shape,
                          const plan::Topology& topology, Index threads, const comm::Communicator& asking) {
  model::RunSizes sizes =
      training_sizes(options, model::planned_row_transport(options.transport, asking, topology, RankId{0}), threads);
  double most = 0.0;
  for (NodeId node; node < NodeId{topology.num_nodes()}; ++node) {
    sizes.transport.node_ranks = std::ssize(topology.ranks(node));
    most = std::max(most, most_bytes(options, shape, sizes, topology.ranks(node)));
  }
  return most;
}

double sampled_rank_bytes(const train::TrainOptions& options, const model::DataShape& shape,
                          const plan::RowTransport& transport, Index threads) {
  constexpr Index most_samples = 16;
  const Index samples = std::min(transport.num_ranks, most_samples);
  std::vector<RankId> ranks;
  for (Index i = 0; i < samples; ++i) ranks.emplace_back(transport.num_ranks * i / samples);
  return most_bytes(options, shape, training_sizes(options, transport, threads), ranks);
}

MeasuredRun measured_run(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "run.h5")) {
    throw InputError(fmt::format("'{}' has no log of a run: no run.h5", folder.string()),
                     "name a folder that conclave train wrote into");
  }
  const train::Hdf5File file = train::Hdf5File::open(folder / "run.h5");
  const auto ranks = recorded<Index>(file, "ranks");
  const auto threads = recorded<Index>(file, "threads_per_rank");
  const std::vector<double> seconds =
      file.exists("/steps") ? file.read<double>("/steps/seconds") : std::vector<double>{};
  if (seconds.empty() || !ranks || !threads) {
    throw InputError(fmt::format("'{}' has no step of a run", file.path().string()),
                     "name the folder of a run that has done some steps, or give --step-time or --time");
  }
  MeasuredRun run;
  run.ranks = *ranks;
  run.threads = *threads;
  run.save_s = recorded<double>(file, "save_s");
  refuse_impossible_times(file, run, seconds);
  const Timings timings = steady(seconds);
  run.steps = std::ssize(timings.seconds);
  run.step_s = timings.median();
  for (const std::string& name : file.attributes("/config")) {
    run.config[name] = file.attribute<std::string>("/config", name);
  }
  return run;
}

double training_seconds(const train::TrainOptions& o, double step_s, std::optional<double> save_s) {
  constexpr double beside = 0.1;
  constexpr double beside_s = 600.0;
  const Index steps = o.stop_after > 0 ? std::min(o.stop_after, o.steps) : o.steps;
  const Index every = o.checkpoint_every.value_or(0);
  const Index saves = 1 + (every > 0 ? steps / every : 0);
  const double work_s = static_cast<double>(steps) * step_s + static_cast<double>(saves) * save_s.value_or(0.0);
  return work_s * (1.0 + beside) + beside_s;
}

}  // namespace conclave::apps
