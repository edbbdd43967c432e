// SPDX-License-Identifier: BSD-3-Clause
// The measurement `checkpoint`: writing a run's checkpoint beside raw writes of as many bytes.
#include "apps/option_text.hpp"
#include "apps/train_case.hpp"
#include "apps/train_options.hpp"
#include "runtime/train/agreed.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

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

[[noreturn]] void fail(const std::filesystem::path& file) {
  throw InputError(fmt::format("cannot write '{}': {}", file.string(), std::strerror(errno)),
                   "check the folder's rights and free space, or name another with --out");
}

/// A file that every rank writes one of, onto the disk.
class RawFile {
 public:
  RawFile(const std::string& folder, RankId rank, Index bytes)
      : path_(std::filesystem::path(folder) / fmt::format("raw-{}", rank.value())),
        content_(static_cast<std::size_t>(bytes), 'x') {}
  ~RawFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  void write() const {
    const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) fail(path_);
    std::size_t done = 0;
    while (done < content_.size()) {
      const ssize_t n = ::write(file, content_.data() + done, content_.size() - done);
      if (n < 0 && errno != EINTR) fail(path_);
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    if (::fsync(file) != 0) fail(path_);
    ::close(file);
  }

 private:
  std::filesystem::path path_;
  std::string content_;
};

// The folder is made for this, so that it can be removed again.
void make_folder(const comm::Communicator& world, const std::string& folder) {
  train::on_root(world, [&] {
    if (std::filesystem::exists(folder)) {
      throw InputError(fmt::format("out: '{}' is there already", folder), "name a folder that may be made and removed");
    }
    std::filesystem::create_directories(folder);
  });
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
  {
    const RawFile raw(c.train.out, world.rank(), even_share(bytes, world.size(), world.rank().value()).size());
    timings =
        timed_in_turn(world, c.run.repeats, Across::slowest_rank,
                      {[&] { file = trainer.save(config, {}); }, [&] { train::agreed(world, [&] { raw.write(); }); }});
  }
  world.barrier();
  train::on_root(world, [&] { std::filesystem::remove_all(c.train.out); });

  Report report{
      .measurement = "checkpoint",
      .title = fmt::format("Checkpoint of {:.4g} MB: {}", 1e-6 * static_cast<double>(bytes), size_text(c.train, world)),
      .floors = {"raw writes"}};
  const double megabytes = 1e-6 * static_cast<double>(bytes);
  report.lines.push_back({"save", timings[0], {timings[1]}, megabytes, "MB/s"});
  report.lines.push_back({"raw writes", timings[1], {}, megabytes, "MB/s"});
  report.facts = {{"save_s", timings[0].median()},
                  {"raw_write_s", timings[1].median()},
                  {"ratio", report.lines[0].ratio()},
                  {"bytes", bytes}};
  report.notes = {"raw writes: every rank writes its share of the bytes into a file of its own, and fsync"};
  return report;
}

}  // namespace

Command bench_checkpoint() {
  return make_measurement<TrainCase>("checkpoint", "writing a checkpoint, beside raw writes of as many bytes", describe,
                                     measure_checkpoint);
}

}  // namespace conclave::apps
