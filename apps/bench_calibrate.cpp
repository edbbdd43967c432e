// SPDX-License-Identifier: BSD-3-Clause
// The measurement `calibrate`: what this machine's phases, messages, memory and files cost, fitted from many small
// measurements into the file that simulations read. First one rank of each node works while the others sleep, then all
// ranks of a node train together: they share its memory, and each computes on what others have written.
#include "apps/bench.hpp"
#include "apps/calibration.hpp"
#include "apps/exchange_timing.hpp"
#include "apps/launch.hpp"
#include "apps/machine_floor.hpp"
#include "apps/progress.hpp"
#include "apps/raw_file.hpp"
#include "apps/run_record.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/host.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"

#include <cmath>
#include <ctime>
#include <filesystem>
#include <numbers>

namespace conclave::apps {
namespace {

struct CalibrateOptions {
  std::string out = "machine.json";
  std::string csv;
  bool quick = false;
  Index rounds = 3;
  double most_noise = 0.1;
  bool accept_noise = false;
  ComputeOptions compute;
};

/// How much is measured.
struct Effort {
  StepBudget steps;
  StepBudget reference;
  Index reference_repeats;
  TransferBudget transfers;
  Index exchange_repeats;
  double largest_file_bytes;
  Index file_repeats;
  Index largest_copy_bytes;
};

constexpr Effort whole_effort{.steps = {0.25, 4},
                              .reference = {0.5, 15},
                              .reference_repeats = 4,
                              .transfers = {4194304.0, 7, 2e-2},
                              .exchange_repeats = 7,
                              .largest_file_bytes = 67108864.0,
                              .file_repeats = 3,
                              .largest_copy_bytes = Index{1} << 28};
constexpr Effort quick_effort{.steps = {0.01, 3},
                              .reference = {0.02, 5},
                              .reference_repeats = 3,
                              .transfers = {262144.0, 2, 1e-3},
                              .exchange_repeats = 3,
                              .largest_file_bytes = 1048576.0,
                              .file_repeats = 2,
                              .largest_copy_bytes = Index{1} << 22};

void describe_calibrate(CalibrateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Calibration");
  table.add("out", o.out, "the file to write, for simulate --machine; trial files are written beside it");
  table.add("csv", o.csv, "a file to write the measurements into that the rates were fitted to, with commas");
  table.add("quick", o.quick, "measure fewer and smaller shapes, in seconds: a first look, not to predict by");
  table.add(
      "rounds", o.rounds,
      "how often all shapes are timed in turn, so that a machine that is slower for a while is so for all of them");
  table.add("most_noise", o.most_noise,
            "how far apart timings of the same steps may be, as a share, before the machine counts as too busy");
  table.add("accept_noise", o.accept_noise, "measure all the same on a busy machine, or with more threads than CPUs");
  conclave::describe(o.compute, table);
}

void validate_calibrate(const CalibrateOptions& o, const comm::Communicator& world) {
  if (o.rounds < 1 || o.rounds > 1000) {
    throw InputError(fmt::format("rounds = {}", o.rounds), "give 1 to 1000; several tell how much the machine drifts");
  }
  if (!(std::isfinite(o.most_noise) && o.most_noise > 0.0)) {
    throw InputError(fmt::format("most_noise = {}", o.most_noise), "give a share above 0, such as 0.1");
  }
  train::on_root(world, [&] {
    if (!o.out.empty() && !std::filesystem::is_directory(o.out)) return;
    throw InputError(fmt::format("out = '{}' is no name of a file", o.out), "name a file, such as machine.json");
  });
}

Index most_ranks_of_a_node(const comm::Communicator& world) {
  const plan::Topology topology = world.topology();
  return world.max(std::ssize(topology.ranks(topology.node(world.rank()))));
}

comm::Communicator node_of(const comm::Communicator& world) {
  return world.split(world.topology().node(world.rank()).value());
}

void refuse_too_many_threads(const CalibrateOptions& o, Index node_ranks) {
  const Index cpus = cpus_for_all_ranks();
  if (node_ranks * num_threads() <= cpus || o.accept_noise) return;
  throw InputError(fmt::format("{} ranks x {} threads on a node of {} CPUs: they would wait for one another",
                               node_ranks, num_threads(), cpus),
                   fmt::format("start at most {} ranks of {} threads on a node, or give --accept-noise",
                               std::max<Index>(1, cpus / num_threads()), std::min(num_threads(), cpus)));
}

/// The measuring, one thing after the other, and how far it has come.
class Measuring {
 public:
  Measuring(const CalibrateOptions& options, const comm::Communicator& world)
      : options_(options),
        effort_(options.quick ? quick_effort : whole_effort),
        world_(world),
        own_(world.split(world.rank().value())),
        node_(node_of(world)),
        shapes_(calibration_shapes(options.quick)),
        node_ranks_(most_ranks_of_a_node(world)),
        progress_(0, num_things(), world.is_root()) {}

  Calibration run() {
    Calibration result;
    alone([&] { result.file = time_file(); });
    alone([&] { time_reference(); });
    refuse_noise();
    result.node = time_messages(world_, plan::Level::node, effort_.transfers);
    done("messages within a node");
    result.network = time_messages(world_, plan::Level::network, effort_.transfers);
    done("messages between nodes");
    result.shared_memory = time_shared_memory(world_, effort_.transfers);
    done("shared memory");
    result.exchanges = time_exchanges(world_, machine_of(result), effort_.exchange_repeats);
    done("exchanges between nodes");
    result.copies = time_copies();
    std::vector<StepTiming> one;
    on_one_rank_a_node([&] { one = time_shapes_alone(); });
    const std::vector<StepTiming> all = node_ranks_ > 1 ? time_shapes_together(one) : std::vector<StepTiming>{};
    alone([&] { time_reference(); });
    refuse_noise();
    progress_.finish();
    train::on_root(world_, [&] {
      std::vector<TimedShapes> timed{{1, num_threads(), std::move(one)}};
      if (!all.empty()) timed.push_back({node_ranks_, num_threads(), all});
      result.compute = fit_rates(timed);
      if (options_.rounds > 1) return;
      for (RatesFit& fit : result.compute.rates) fit.drift_sigma = drift_of_reference();
    });
    result.noise = noise();
    return result;
  }

 private:
  [[nodiscard]] Index num_things() const {
    const Index times = node_ranks_ > 1 ? 2 : 1;
    return times * options_.rounds * std::ssize(shapes_) + 8;
  }

  void done(const std::string& what) { progress_.update(++num_done_, what); }

  // How the work failed, done here or not; the others are asleep.
  template <class Work>
  train::Failure while_others_sleep(bool works_here, const Work& work) {
    train::Failure failure;
    if (works_here) failure = train::failure_of(work);
    world_.idle_barrier();
    return failure;
  }

  // On the root. What fails there fails on all.
  template <class Work>
  void alone(const Work& work) {
    const train::Failure failure = while_others_sleep(world_.is_root(), work);
    train::on_root(world_, [&] {
      if (!failure.message.empty()) throw InputError(failure.message, failure.hint);
    });
  }

  // On the first rank of each node: what nodes share, they share in trainings too.
  template <class Work>
  void on_one_rank_a_node(const Work& work) {
    const train::Failure failure = while_others_sleep(node_.is_root(), work);
    world_.agree(failure.message, failure.hint);
  }

  // A few times what noise is told by.
  void time_reference() {
    for (Index i = 0; i < effort_.reference_repeats; ++i) {
      StepTiming timing = time_steps(shapes_.front(), effort_.reference, own_, [] {});
      timing.settle();
      reference_s_.push_back(timing.step_s);
    }
    done("the same steps again");
  }

  [[nodiscard]] double noise() const {
    if (reference_s_.empty()) return 0.0;
    const auto [least, most] = std::ranges::minmax(reference_s_);
    return most / least - 1.0;
  }

  // One round does not tell: by the same steps at the beginning and at the end. The mean distance of two normal amounts
  // is 2 sigma / sqrt(pi).
  [[nodiscard]] double drift_of_reference() const {
    const auto half = reference_s_.begin() + effort_.reference_repeats;
    const double before_s = sim::quantile({reference_s_.begin(), half}, 0.5);
    const double after_s = sim::quantile({half, reference_s_.end()}, 0.5);
    return 0.5 * std::sqrt(std::numbers::pi) * std::abs(after_s / before_s - 1.0);
  }

  void refuse_noise() {
    train::on_root(world_, [&] {
      if (noise() <= options_.most_noise || options_.accept_noise) return;
      const auto [least, most] = std::ranges::minmax(reference_s_);
      throw InputError(fmt::format("the machine is too busy: the same steps took {} to {}, {:.0f} % apart",
                                   seconds_text(least), seconds_text(most), 100.0 * noise()),
                       fmt::format("wait until nothing else runs here, and bind ranks to CPUs; or allow more than "
                                   "most_noise = {}, or give --accept-noise",
                                   options_.most_noise));
    });
  }

  sim::LineFit time_file() {
    std::vector<sim::Transfer> writes;
    try {
      for (double bytes = 4096.0; bytes <= effort_.largest_file_bytes; bytes *= 4.0) {
        const RawFile file(options_.out + ".trial", static_cast<Index>(bytes));
        for (Index i = 0; i < effort_.file_repeats; ++i) {
          const Clock::time_point start = Clock::now();
          file.write();
          writes.push_back({bytes, seconds_since(start)});
        }
      }
    } catch (const InputError& error) {
      throw InputError(error.what(), "check the rights and free space there, or give another file to --out");
    }
    done("files");
    return sim::fit_line(writes);
  }

  // Arrays of four times the largest cache, so that they are read from memory.
  CopyRates time_copies() {
    const Index bytes = std::min(4 * last_level_cache_bytes(), effort_.largest_copy_bytes);
    const auto elements = static_cast<std::size_t>(bytes) / sizeof(float);
    const std::vector<float> from(elements, 1.0F);
    std::vector<float> to(elements, 0.0F);
    constexpr Index repeats = 5;
    const auto rate = [&] {
      std::vector<double> rates;
      for (Index i = 0; i < repeats; ++i) {
        const Clock::time_point start = Clock::now();
        copy_all(from, to);
        rates.push_back(static_cast<double>(bytes) / seconds_since(start));
      }
      return sim::quantile(std::move(rates), 0.5);
    };
    CopyRates rates;
    alone([&] { rates.alone_Bps = rate(); });
    world_.barrier();
    const double mine = rate();
    rates.together_Bps = sim::quantile(world_.gather_all(std::span(&mine, 1)), 0.5);
    done("copies");
    return rates;
  }

  // Each shape as often as there are rounds; medians over the steps of all.
  template <class TimeShape>
  std::vector<StepTiming> time_shapes(const TimeShape& time_shape) {
    std::vector<StepTiming> timings(shapes_.size());
    for (Index round = 0; round < options_.rounds; ++round) {
      for (std::size_t i = 0; i < shapes_.size(); ++i) {
        StepTiming timing = time_shape(i);
        if (round == 0) {
          timings[i] = std::move(timing);
        } else {
          timings[i].add(timing);
        }
      }
    }
    for (StepTiming& timing : timings) timing.settle();
    return timings;
  }

  std::vector<StepTiming> time_shapes_alone() {
    return time_shapes([&](std::size_t i) {
      StepTiming timing = time_steps(shapes_[i], effort_.steps, own_, [] {});
      done(fmt::format("{} alone", shapes_[i].name));
      return timing;
    });
  }

  // As many steps as the root did alone; of each time the median over the nodes.
  std::vector<StepTiming> time_shapes_together(const std::vector<StepTiming>& root_alone) {
    std::vector<StepTiming> timings = time_shapes([&](std::size_t i) {
      Index steps = world_.is_root() ? std::ssize(root_alone[i].seconds) / options_.rounds : 0;
      world_.broadcast(std::span(&steps, 1));
      StepTiming timing = time_steps(shapes_[i], {0.0, steps}, node_, [&] { world_.barrier(); });
      done(fmt::format("{} on {} ranks", shapes_[i].name, world_.size()));
      return timing;
    });
    for (StepTiming& timing : timings) {
      for (double& seconds : timing.phases_s) seconds = over_ranks(seconds);
      timing.step_s = over_ranks(timing.step_s);
    }
    return timings;
  }

  [[nodiscard]] double over_ranks(double value) const {
    return sim::quantile(world_.gather_all(std::span<const double>(&value, 1)), 0.5);
  }

  const CalibrateOptions& options_;
  const Effort& effort_;
  const comm::Communicator& world_;
  comm::Communicator own_;   // of this rank alone
  comm::Communicator node_;  // of the node's ranks
  std::vector<CalibrationShape> shapes_;
  Index node_ranks_;
  Progress progress_;
  Index num_done_ = 0;
  std::vector<double> reference_s_;  // of a step, on the root
};

std::string time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

sim::Provenance provenance_of(const Session& session) {
  const std::map<std::string, std::string> record = run_record(session);
  return {.version = record.at("binary"),
          .cpu = record.at("cpu"),
          .blas_kernel = record.at("gemm"),
          .mpi = record.at("mpi_library"),
          .host = host_name(),
          .when = time_now(),
          .ranks = session.world.size(),
          .threads = num_threads()};
}

int run_calibrate(const CalibrateOptions& o, const Session& session) {
  apply(o.compute);
  validate_calibrate(o, session.world);
  refuse_unwritable(session.world, "csv", o.csv);
  refuse_too_many_threads(o, most_ranks_of_a_node(session.world));
  const LoadWatch load(session.world);
  if (session.world.is_root()) load.warn();
  Calibration calibration = Measuring(o, session.world).run();
  calibration.provenance = provenance_of(session);
  train::on_root(session.world, [&] {
    train::replace_file(o.out, sim::machine_text(machine_of(calibration)));
    if (!o.csv.empty()) write_file(o.csv, csv_text(calibration));
    fmt::print("{}", table_text(calibration));
    fmt::print("written: {}\n", o.out);
  });
  return 0;
}

}  // namespace

Command bench_calibrate() {
  return make_command<CalibrateOptions>(
      "calibrate", "what this machine's phases, messages, memory and files cost, as a file that simulations read", "",
      describe_calibrate, run_calibrate);
}

}  // namespace conclave::apps
