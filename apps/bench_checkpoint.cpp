// SPDX-License-Identifier: BSD-3-Clause
// The measurement `checkpoint`: writing a run's checkpoint beside raw writes, reads and copies of as many bytes.
#include "apps/option_text.hpp"
#include "apps/raw_file.hpp"
#include "apps/train_case.hpp"
#include "apps/train_options.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>
#include <tuple>

namespace conclave::apps {
namespace {

// What a checkpoint's size depends on, and where it is written.
std::set<std::string> not_of_a_checkpoint() {
  TrainCase c;
  OptionSections sections;
  describe(c, sections);
  std::set<std::string> unused;
  for (const Option* option : sections.all()) unused.insert(option->name);
  OptionTable model;
  model::describe(c.train.model, model);
  for (const Option& option : model.options()) unused.erase(option.name);
  for (const char* name : {"data", "optimizer", "out", "task"}) unused.erase(name);
  return unused;
}

// The folder is made for this, so that it can be removed again.
void make_folder(const comm::Communicator& world, const std::string& folder) {
  train::on_root(world, [&] {
    if (std::filesystem::exists(folder)) {
      throw InputError(fmt::format("out: '{}' is there already", folder), "name a folder that may be made and removed");
    }
    std::filesystem::create_directories(folder);
  });
}

// Of one thing after the other, in the same repetition.
Timings added(const Timings& first, const Timings& second) {
  Timings sum = first;
  for (std::size_t i = 0; i < sum.seconds.size(); ++i) sum.seconds[i] += second.seconds[i];
  return sum;
}

std::optional<Report> measure_checkpoint(TrainCase& c, const Session& session) {
  const comm::Communicator& world = session.world;
  refuse_unused(session, not_of_a_checkpoint());
  if (!session.given.contains("out") || session.from_file.contains("out")) c.train.out = "conclave-bench-checkpoint";
  c.train.keep.last = 1;
  const auto samples = settle(c, session);
  train::Trainer trainer(c.train, *samples, world);
  make_folder(world, c.train.out);
  const auto config = option_values(c.train);
  std::filesystem::path file = trainer.save(config, {});
  Index bytes = 0;
  train::on_root(world, [&] { bytes = static_cast<Index>(std::filesystem::file_size(file)); });
  bytes = world.max(bytes);

  std::vector<Timings> timings;
  Timings pause;
  {
    RawFile raw(std::filesystem::path(c.train.out) / fmt::format("raw-{}", world.rank().value()),
                even_share(bytes, world.size(), world.rank().value()).size());
    train::AsyncCheckpoint async(world);
    const auto in_background = [&] {
      const Clock::time_point start = Clock::now();
      trainer.begin_save(async, config, {});
      pause.seconds.push_back(world.max(seconds_since(start)));
      file = async.finish();
    };
    timings = timed_in_turn(
        world, c.run.repeats, Across::slowest_rank,
        {[&] { file = trainer.save(config, {}); }, in_background, [&] { train::agreed(world, [&] { raw.write(); }); },
         [&] { train::agreed(world, [&] { raw.read(); }); }, [&] { raw.copy(); }});
  }
  pause.seconds.erase(pause.seconds.begin(),
                      pause.seconds.end() - c.run.repeats * timings[1].calls);  // the rest does not count
  world.barrier();
  train::on_root(world, [&] { std::filesystem::remove_all(c.train.out); });

  const auto& [save, in_background, raw_write, raw_read, copy] =
      std::tie(timings[0], timings[1], timings[2], timings[3], timings[4]);
  Report report{
      .measurement = "checkpoint",
      .title = fmt::format("Checkpoint of {:.4g} MB: {}", 1e-6 * static_cast<double>(bytes), size_text(c.train, world)),
      .floors = {"raw writes", "both raw", "copy"}};
  const double megabytes = 1e-6 * static_cast<double>(bytes);
  const Timings both = added(raw_write, raw_read);
  report.lines.push_back({"save", save, {raw_write, both}, megabytes, "MB/s"});
  report.lines.push_back({"save in the background", in_background, {raw_write, both}, megabytes, "MB/s"});
  report.lines.push_back({"pause of the run", pause, {raw_write, both, copy}, megabytes, "MB/s", true});
  report.lines.push_back({"raw writes", raw_write, {}, megabytes, "MB/s"});
  report.lines.push_back({"raw reads", raw_read, {}, megabytes, "MB/s"});
  report.lines.push_back({"copy", copy, {}, megabytes, "MB/s"});
  report.facts = {{"save_s", save.median()},          {"background_s", in_background.median()},
                  {"pause_s", pause.median()},        {"raw_write_s", raw_write.median()},
                  {"raw_read_s", raw_read.median()},  {"copy_s", copy.median()},
                  {"ratio", report.lines[0].ratio()}, {"bytes", bytes}};
  report.notes = {"raw writes: every rank writes its share of the bytes into a file of its own, and fsync",
                  "raw reads: every rank reads that file back, from the disk where the system allows it",
                  "both raw: a save writes, and reads back and compares what it has written before it counts",
                  "pause: a save in the background stops the run while it copies the tensors in memory"};
  return report;
}

}  // namespace

Command bench_checkpoint() {
  return make_measurement<TrainCase>("checkpoint",
                                     "writing a checkpoint, beside raw writes, reads and copies of as many bytes",
                                     describe, measure_checkpoint);
}

}  // namespace conclave::apps
