// SPDX-License-Identifier: BSD-3-Clause
// The measurement `reduce`: the sum of gradients over groups in its fixed tree, and the sharing of what each rank has
// updated, beside MPI's own sum and beside copies of as many bytes.
#include "apps/bench.hpp"
#include "apps/machine_floor.hpp"
#include "comm/mpi/plain_collectives.hpp"
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"

namespace conclave::apps {
namespace {

struct ReduceOptions {
  Index elements = Index{1} << 22;
  Index groups = 4;
  std::string exchange{comm::exchange_strategies().front().name};
  ComputeOptions compute{.threads = 1};
  BenchRun run;
};

void describe_reduce(ReduceOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Reduction");
  table.add("elements", o.elements, "numbers of a gradient, fp32");
  table.add("groups", o.groups, "groups over all ranks, each with a gradient");
  table.add("exchange", o.exchange, "how rows travel between ranks: " + model::exchange_names());
  conclave::describe(o.compute, table);
  table.remove("gemm");  // nothing is multiplied
}

void settle_reduce(const ReduceOptions& o) {
  constexpr Index most = std::numeric_limits<std::int32_t>::max();  // what MPI's own sum can count
  for (const auto& [name, value] : {std::pair{"elements", o.elements}, std::pair{"groups", o.groups}}) {
    if (value >= 1 && value <= most) continue;
    throw InputError(fmt::format("{} = {}", name, value), fmt::format("give 1 to {}", most));
  }
  apply(o.compute);
}

/// The gradients of one rank's groups, summed as far as it can by itself, and what becomes of them.
class Reduction {
 public:
  Reduction(const ReduceOptions& o, const comm::Communicator& world)
      : world_(world),
        plan_(o.elements, o.groups, world.size()),
        exchange_(comm::make_exchange(o.exchange, world)),
        reduce_(plan_, world, *exchange_),
        gather_(plan_, *exchange_),
        whole_(1, o.elements),
        other_(1, o.elements) {
    for (std::size_t i = 0; i < plan_.pieces_of(world.rank()).size(); ++i) {
      sums_.emplace_back(1, o.elements).fill(1e-3F);
    }
  }

  void scatter() {
    std::vector<std::span<const float>> spans;
    for (const Matrix<float>& m : sums_) spans.push_back(m.flat());
    const Range slice = plan_.slice_of(world_.rank());
    const auto mine =
        whole_.flat().subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size()));
    std::fill(mine.begin(), mine.end(), 0.0F);
    reduce_.start(spans);
    reduce_.wait();
    reduce_.finish(mine);
  }
  void gather() { gather_.gather(whole_.flat()); }
  void plain() { comm::plain_all_reduce(world_, other_.flat()); }
  void copy() { copy_all(whole_.flat(), other_.flat()); }
  [[nodiscard]] Index num_pieces() const { return std::ssize(sums_); }

 private:
  const comm::Communicator& world_;
  plan::ReducePlan plan_;
  std::unique_ptr<comm::Exchange> exchange_;
  comm::ReduceScatter<float> reduce_;
  comm::SliceGather<float> gather_;
  Matrix<float> whole_, other_;      // [1, elements]
  std::vector<Matrix<float>> sums_;  // [pieces][1, elements]
};

std::optional<Report> measure_reduce(ReduceOptions& o, const Session& session) {
  const comm::Communicator& world = session.world;
  settle_reduce(o);
  Reduction reduction(o, world);
  const auto timings = timed_in_turn(world, o.run.repeats, Across::slowest_rank,
                                     {[&] {
                                        reduction.scatter();
                                        reduction.gather();
                                      },
                                      [&] { reduction.scatter(); }, [&] { reduction.gather(); },
                                      [&] { reduction.plain(); }, [&] { reduction.copy(); }});
  Report report{.measurement = "reduce",
                .title = fmt::format("Sum of {} gradients of {} elements, {} ranks, {} threads", o.groups, o.elements,
                                     world.size(), num_threads()),
                .floors = {"copy"}};
  const double gigabytes = 4e-9 * static_cast<double>(o.elements);
  report.lines.push_back({"reduce and gather", timings[0], {timings[4]}, gigabytes, "GB/s"});
  report.lines.push_back({.name = "reduce-scatter", .ours = timings[1], .is_part = true});
  report.lines.push_back({.name = "all-gather", .ours = timings[2], .is_part = true});
  report.lines.push_back({"MPI_Allreduce", timings[3], {}, gigabytes, "GB/s"});
  report.facts = {
      {"reduce_s", timings[0].median()}, {"all_reduce_s", timings[3].median()}, {"ratio", report.lines[0].ratio()}};
  report.notes = {
      fmt::format(
          "sums in the fixed tree over the groups, of which a rank has summed its own to at most {} partial sums",
          world.max(reduction.num_pieces())),
      "MPI_Allreduce: one sum a rank, in whatever order; copy: the gradient once, on every rank"};
  return report;
}

}  // namespace

Command bench_reduce() {
  return make_measurement<ReduceOptions>("reduce", "the sum of gradients in its fixed tree, beside MPI's own sum",
                                         describe_reduce, measure_reduce);
}

}  // namespace conclave::apps
