// SPDX-License-Identifier: BSD-3-Clause
// The measurement `memory`: bytes a second that threads read, write, copy and combine, and that the optimizer's update
// moves.
#include "apps/bench.hpp"
#include "apps/machine_floor.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/matrix.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/optimizer.hpp"

namespace conclave::apps {
namespace {

struct MemoryOptions {
  Index array_mib = 0;
  ComputeOptions compute;
  BenchRun run;
};

void describe_memory(MemoryOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Memory");
  table.add("array_mib", o.array_mib, "size of each of a rank's four arrays [MiB]; 0: four times the largest cache");
  conclave::describe(o.compute, table);
  table.remove("gemm");  // nothing is multiplied
}

void settle_memory(MemoryOptions& o) {
  constexpr Index mib = Index{1} << 20;
  if (o.array_mib == 0) o.array_mib = (4 * last_level_cache_bytes() + mib - 1) / mib;
  if (o.array_mib < 1 || o.array_mib > (Index{1} << 20)) {
    throw InputError(fmt::format("array_mib = {}", o.array_mib),
                     fmt::format("give 1 to {}, or 0 for four times the largest cache", Index{1} << 20));
  }
  apply(o.compute);
}

/// What is done to a rank's arrays, a slice a thread.
class Streams {
 public:
  explicit Streams(Index elements) : optimizer_(train::make_optimizer({})) {
    for (Matrix<float>* array : {&a_, &b_, &c_, &d_}) array->resize(1, elements);
    each([&](Range r) {  // touched by the threads that will use them; no denormal numbers
      for (Matrix<float>* array : {&a_, &b_, &c_, &d_}) write_all(slice(*array, r), 1e-3F);
    });
  }

  void read() {
    each([&](Range r) { read_all(slice(b_, r)); });
  }
  void write() {
    each([&](Range r) { write_all(slice(a_, r), 1e-3F); });
  }
  void copy() {
    each([&](Range r) { copy_all(slice(b_, r), slice(a_, r)); });
  }
  void triad() {
    each([&](Range r) { apps::triad(slice(b_, r), 0.5F, slice(c_, r), slice(a_, r)); });
  }
  void update() {
    each([&](Range r) {
      const std::array<std::span<float>, 2> states{slice(c_, r), slice(d_, r)};
      optimizer_->apply({.learning_rate = 1e-4, .weight_decay = 0.1}, slice(a_, r), slice(b_, r), states);
    });
  }

 private:
  static std::span<float> slice(Matrix<float>& array, Range r) {
    return array.flat().subspan(static_cast<std::size_t>(r.begin), static_cast<std::size_t>(r.size()));
  }
  void each(const std::function<void(Range)>& body) const {
    parallel_for(num_threads(), [&](Index i) { body(even_share(a_.size(), num_threads(), i)); });
  }

  Matrix<float> a_, b_, c_, d_;  // [1, elements]; for the update: parameters, gradient and its two states
  std::unique_ptr<train::Optimizer> optimizer_;
};

/// A thing to be done, and the bytes an element that a program asks for by it.
struct Stream {
  std::string_view name;
  void (Streams::*run)();
  double element_bytes;
};

constexpr std::size_t copy_at = 0;
constexpr std::size_t triad_at = 1;
constexpr std::array<Stream, 5> streams{{{"copy", &Streams::copy, 8.0},
                                         {"triad", &Streams::triad, 12.0},
                                         {"read", &Streams::read, 4.0},
                                         {"write", &Streams::write, 4.0},
                                         {"AdamW update", &Streams::update, 28.0}}};

// The time of as many bytes at another stream's rate.
Timings at_rate_of(const Stream& other, Timings timings, const Stream& stream) {
  for (double& seconds : timings.seconds) seconds *= stream.element_bytes / other.element_bytes;
  return timings;
}

std::optional<Report> measure_memory(MemoryOptions& o, const Session& session) {
  settle_memory(o);
  const Index most_threads = num_threads();
  const Index elements = o.array_mib * ((Index{1} << 20) / static_cast<Index>(sizeof(float)));
  Streams arrays(elements);
  Report report{.measurement = "memory",
                .title = fmt::format("Memory: {} ranks with arrays of {} MiB", session.world.size(), o.array_mib),
                .floors = {"copy", "triad"}};
  for (Index threads = 1; threads <= most_threads; ++threads) {
    use_threads(threads);
    std::vector<std::function<void()>> things;
    for (const Stream& stream : streams) things.emplace_back([&] { (arrays.*stream.run)(); });
    const std::vector<Timings> timings = timed_in_turn(session.world, o.run.repeats, Across::every_rank, things);
    Json& rates = report.facts["bytes_per_s"][fmt::format("{}_threads", threads)] = Json::object();
    for (std::size_t i = 0; i < streams.size(); ++i) {
      const double bytes = streams[i].element_bytes * static_cast<double>(elements);
      report.lines.push_back({fmt::format("{}, {} threads", streams[i].name, threads),
                              timings[i],
                              {at_rate_of(streams[copy_at], timings[copy_at], streams[i]),
                               at_rate_of(streams[triad_at], timings[triad_at], streams[i])},
                              1e-9 * bytes,
                              "GB/s a rank"});
      rates[std::string(streams[i].name)] = bytes / timings[i].median();
    }
  }
  report.notes = {
      "bytes are those that the loop names: copy 8 an element, triad (a = b + s c) 12, read 4, write 4, update 28 "
      "(parameters and two states read and written, gradient read)",
      "/ copy, / triad: the time of as many bytes at the rate of copy or triad",
      fmt::format("the update runs at {:.0f} % of triad's rate on {} threads", 100.0 / report.lines.back().ratio(1),
                  most_threads)};
  return report;
}

}  // namespace

Command bench_memory() {
  return make_measurement<MemoryOptions>(
      "memory", "bandwidth of copy, triad, read, write and of the optimizer's update", describe_memory, measure_memory);
}

}  // namespace conclave::apps
