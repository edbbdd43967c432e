// SPDX-License-Identifier: BSD-3-Clause
// What the measurements of the family `bench` share: repetitions that alternate with their floor, and what becomes of a
// report. A measurement's file holds an aggregate of its options with a member `run`, a function that describes the
// others, one that measures, and one that makes the Command of them; the table in bench.cpp names them all.
#pragma once

#include "apps/bench_report.hpp"
#include "apps/command.hpp"
#include "apps/exchange_report.hpp"

namespace conclave::apps {

/// How something is measured, and where the result goes.
struct BenchRun {
  Index repeats = 7;
  bool json = false;
  std::string calibration;
};

enum class Across { slowest_rank, every_rank };

/// Times some things in turn, `repeats` times over, so that what disturbs one disturbs the others; once more before,
/// which does not count. Things of less than two milliseconds are called several times within a timing. All ranks begin
/// a timing together; it is the slowest rank's where ranks wait for one another, and each rank's where they do not.
/// Collective; the same on every rank.
[[nodiscard]] std::vector<Timings> timed_in_turn(const comm::Communicator& world, Index repeats, Across across,
                                                 const std::vector<std::function<void()>>& things);

/// The other ranks' values behind this one's, for values that every rank has as many of. Collective.
[[nodiscard]] Timings of_every_rank(const comm::Communicator& world, const std::vector<double>& seconds);

void describe(BenchRun& run, OptionTable& table);
/// InputError for values out of range, and for a file that cannot be written. Collective.
void validate(const BenchRun& run, const comm::Communicator& world);

/// InputError, naming the option, for a file that cannot be written: now, and not after minutes of measuring. An empty
/// path is none. Collective.
void refuse_unwritable(const comm::Communicator& world, std::string_view option, const std::string& path);
/// InputError if it cannot be written.
void write_file(const std::string& path, const std::string& text);

/// What else was going on while something was measured: noted in the report, and a warning where it will have
/// disturbed.
class LoadWatch {
 public:
  /// Looks at the node's load. Collective.
  explicit LoadWatch(const comm::Communicator& world);
  [[nodiscard]] double load() const { return load_; }
  /// Sentences about this node being overcommitted by `ranks` x `threads`, or busy with something else.
  [[nodiscard]] std::vector<std::string> warnings() const;
  /// The same on stderr, for one rank to call: before anything is printed, as launchers forward stdout by itself.
  void warn() const;

 private:
  double load_;        // processes that ran or wanted to, mean over the last minute, of the busiest node
  Index local_ranks_;  // of the node that has most
};

/// Prints the report on the root as a table or as JSON, and writes it into a file, as `run` says. Collective.
void publish(const Report& report, const BenchRun& run, const OptionSections& options, const LoadWatch& load,
             const Session& session);

/// The call of a measurement. Options: an aggregate with a member `run` (BenchRun).
template <class Options>
class MeasurementCall final : public CommandCall {
 public:
  using Describe = void (*)(Options& options, OptionSections& sections);
  /// May settle options that depend on others or on the ranks: the report tells them as they were used. Nothing where
  /// they ask for something else than measuring. Collective.
  using Measure = std::optional<Report> (*)(Options& options, const Session& session);

  MeasurementCall(Describe describe_options, Measure measure) : describe_(describe_options), measure_(measure) {}
  void describe(OptionSections& sections) override {
    describe_(options_, sections);
    apps::describe(options_.run, sections.section("Measuring"));
  }
  int run(const Session& session) override {
    validate(options_.run, session.world);
    const LoadWatch load(session.world);
    const std::optional<Report> report = measure_(options_, session);
    OptionSections sections;
    describe(sections);
    if (report) publish(*report, options_.run, sections, load, session);
    return 0;
  }

 private:
  Options options_{};
  Describe describe_;
  Measure measure_;
};

/// The Command of one measurement's functions.
template <class Options>
[[nodiscard]] Command make_measurement(std::string_view name, std::string_view help,
                                       typename MeasurementCall<Options>::Describe describe,
                                       typename MeasurementCall<Options>::Measure measure) {
  return {name, help, "", [=] { return std::make_unique<MeasurementCall<Options>>(describe, measure); }};
}

[[nodiscard]] Command bench_gemm();
[[nodiscard]] Command bench_memory();
[[nodiscard]] Command bench_exchange();
[[nodiscard]] Command bench_gate();
[[nodiscard]] Command bench_layer();
[[nodiscard]] Command bench_step();
[[nodiscard]] Command bench_reduce();
[[nodiscard]] Command bench_checkpoint();
[[nodiscard]] Command bench_scaling();
[[nodiscard]] Command bench_calibrate();

}  // namespace conclave::apps
