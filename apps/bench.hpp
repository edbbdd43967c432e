// SPDX-License-Identifier: BSD-3-Clause
// What the measurements of the command `bench` share.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "experts/options.hpp"
#include "gating/options.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/random.hpp"

#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace conclave::apps {

struct BenchOptions {
  Index tokens = 4096;
  Index groups = 4;
  Index width = 512;
  gating::RouterOptions router;
  experts::ExpertOptions experts;
  Index repeats = 7;
  ComputeOptions compute{.threads = 1};
  bool explain_router = false;

  BenchOptions() {
    router.experts = 16;
    router.capacity_factor = 0.0;
    experts.expert_hidden = {2048};
  }
};

/// Timings of one thing, a repeat each [s].
struct Timings {
  std::vector<double> seconds;
  [[nodiscard]] double median() const;
  [[nodiscard]] double least() const;
};

/// Seconds of the slowest rank. Collective.
[[nodiscard]] double timed(const comm::Communicator& world, const std::function<void()>& work);

/// Element i of `values` = the normal draw (i, which).
void fill_normal(const Random& random, Index which, std::span<float> values);

/// "capacity factor 1.25: 12.30 % of the claims dropped": a factor is never shown without what it did.
[[nodiscard]] std::string drop_text(double capacity_factor, Index claims, Index dropped);

/// A measurement: prints its figures on the root; options must be valid. Collective.
struct Measurement {
  std::string_view name;
  std::string_view help;
  void (*run)(const BenchOptions& options, const comm::Communicator& world);
};

void bench_moe_layer(const BenchOptions& options, const comm::Communicator& world);
void bench_router(const BenchOptions& options, const comm::Communicator& world);

}  // namespace conclave::apps
