// SPDX-License-Identifier: BSD-3-Clause
// The measurement `gemm`: the six products of an expert, by every library there is, beside a core's peak.
#include "apps/bench.hpp"
#include "apps/layer_bench.hpp"
#include "apps/machine_floor.hpp"
#include "runtime/core/parallel.hpp"

namespace conclave::apps {
namespace {

struct GemmOptions {
  Index rows = 512;
  Index width = 512;
  Index hidden = 2048;
  ComputeOptions compute{.threads = 1};
  BenchRun run;
};

void describe_gemm(GemmOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Products");
  table.add("rows", o.rows, "rows of an expert");
  table.add("width", o.width, "features of a row");
  table.add("hidden", o.hidden, "hidden width of the expert");
  conclave::describe(o.compute, table);
  table.remove("gemm");  // all libraries are measured
}

void validate_gemm(const GemmOptions& o) {
  for (const auto& [name, value] :
       {std::pair{"rows", o.rows}, std::pair{"width", o.width}, std::pair{"hidden", o.hidden}}) {
    if (value >= 1 && value <= largest_size) continue;
    throw InputError(fmt::format("{} = {}", name, value), fmt::format("give 1 to {}", largest_size));
  }
  apply(o.compute);
}

Timings scaled(Timings timings, double factor) {
  for (double& seconds : timings.seconds) seconds *= factor;
  return timings;
}

// One library's lines: each kind of product, and all of them.
void add_backend(GemmBackend backend, BareExperts& bare, const GemmOptions& o, const comm::Communicator& world,
                 Report& report) {
  const GemmScope scope(backend);
  const auto threads = static_cast<double>(num_threads());
  const double all_flops = bare.flops() / threads;  // of a thread
  const auto peak = [&] { parallel_for(num_threads(), [&](Index) { fma_loop(all_flops); }); };
  std::vector<std::function<void()>> things{[&] { bare.run(); }, peak};
  for (Index s = 0; s < bare.num_stages(); ++s) things.emplace_back([&bare, s] { bare.run_stage(s); });
  const std::vector<Timings> timings = timed_in_turn(world, o.run.repeats, Across::every_rank, things);
  for (Index s = 0; s < bare.num_stages(); ++s) {
    const double flops = bare.flops(s) / threads;
    report.lines.push_back({fmt::format("{}: {}", name_of(backend), bare.stage_name(s)),
                            timings[static_cast<std::size_t>(s + 2)],
                            {scaled(timings[1], flops / all_flops)},
                            1e-9 * flops,
                            "GFLOP/s a thread"});
  }
  report.lines.push_back(
      {fmt::format("{}: all six", name_of(backend)), timings[0], {timings[1]}, 1e-9 * all_flops, "GFLOP/s a thread"});
  report.facts["gemm_flops_per_s"][std::string(name_of(backend))] = all_flops / timings[0].median();
  report.facts["core_peak_flops_per_s"] = all_flops / timings[1].median();
}

std::optional<Report> measure_gemm(GemmOptions& o, const Session& session) {
  validate_gemm(o);
  Report report{.measurement = "gemm",
                .title = fmt::format("Products of an expert's forward and backward: {} rows, width {}, hidden {}, {} "
                                     "ranks, {} threads",
                                     o.rows, o.width, o.hidden, session.world.size(), num_threads()),
                .floors = {"FMA loop"}};
  const auto copies = static_cast<std::size_t>(num_threads());
  const experts::ExpertShape shape{experts::ExpertKind::gelu, o.width, o.hidden, false, 0};
  BareExperts bare(std::vector(copies, shape), std::vector(copies, o.rows));
  for (const GemmBackend backend : gemm_backends()) add_backend(backend, bare, o, session.world, report);
  report.notes = {fmt::format("FMA loop: the same operations in registers alone, {:.4g} GFLOP/s a thread",
                              1e-9 * report.facts["core_peak_flops_per_s"].get<double>())};
  return report;
}

}  // namespace

Command bench_gemm() {
  return make_measurement<GemmOptions>("gemm", "matrix products of an expert, beside a core's peak", describe_gemm,
                                       measure_gemm);
}

}  // namespace conclave::apps
