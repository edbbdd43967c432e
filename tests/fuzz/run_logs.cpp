// SPDX-License-Identifier: BSD-3-Clause
// The tables of a run's log: with checksums, read and gone on with by train --resume, and read by slurm train
// --from-run and by report.
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/hdf5.hpp"
#include "tests/fuzz/subject.hpp"
#include "tests/support/file_content.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr Index steps_before = 2;

/// The rows of the steps that the original has, of all tables.
std::string first_rows(const fs::path& path) {
  const train::Hdf5File file = train::Hdf5File::open(path);
  std::string text;
  for (const std::string& group : file.members("/")) {
    if (!file.is_group("/" + group) || !file.exists("/" + group + "/step")) continue;
    const auto steps = file.read<Index>("/" + group + "/step");
    const Index count = std::upper_bound(steps.begin(), steps.end(), steps_before) - steps.begin();
    for (const std::string& table : file.datasets("/" + group)) {
      const std::vector<Index> shape = file.shape(table);
      std::vector<double> values(static_cast<std::size_t>(train::num_elements(shape) / shape[0] * count));
      file.read_range<double>(table, {0, std::ssize(values)}, values.data());
      text += fmt::format("{} {}\n", table, fmt::join(values, " "));
    }
  }
  return text;
}

class RunLogs final : public Subject {
 public:
  using Subject::Subject;

  [[nodiscard]] std::vector<Change> changes() const override {
    return {Change::damaged,      Change::damaged,      Change::other_objects,  Change::other_objects,
            Change::other_values, Change::other_values, Change::other_structure};
  }
  [[nodiscard]] bool has_checksums() const override { return true; }

  [[nodiscard]] std::vector<fs::path> make_originals() const override {
    Words words = small_text_training();
    words.insert(words.end(), {"--drop-ledger", "--eval-every", "2", "--capacity-factor", "0.5", "--out", original()});
    static_cast<void>(scene().call(words));
    return {fs::path(original()) / "run.h5"};
  }

  [[nodiscard]] fs::path place() const override { return scene().scratch / "run.h5"; }

  [[nodiscard]] std::string change(Change change, Draws& draws) const override {
    return change_unsealed(place(), train::checkpoint_path(original(), steps_before), change, draws);
  }

  [[nodiscard]] std::vector<Finding> examine() const override {
    const fs::path run = scene().scratch / "run";
    if (scene().world.is_root()) {
      fs::remove_all(run);
      fs::copy(original(), run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
      fs::copy_file(place(), run / "run.h5", fs::copy_options::overwrite_existing);
    }
    scene().world.barrier();
    std::vector<Finding> findings;
    findings.push_back(scene().call({"slurm", "train", "--from-run", run.string(), "--mem", "1G", "--job-files",
                                     CONCLAVE_JOB_FILES, "--ntasks", fmt::format("{}", scene().world.size()), "x"}));
    findings.push_back(reported(run));
    Finding resumed = scene().call({"train", "--resume", run.string(), "--out", run.string(), "--threads", "1",
                                    "--stop-after", fmt::format("{}", steps_before + 1), "--hang-timeout", "0"});
    // A damaged log keeps no run from going on: it is set aside.
    resumed.is_refused = resumed.is_refused || fs::exists(run / "run.h5.damaged");
    if (!resumed.is_refused) resumed.result = first_rows(run / "run.h5");
    findings.push_back(resumed);
    return findings;
  }

 private:
  /// A report's result: pictures of numbers alone, as attributes have no checksums.
  [[nodiscard]] Finding reported(const fs::path& run) const {
    const fs::path pictures = scene().scratch / "pictures";
    if (scene().world.is_root()) fs::remove_all(pictures);
    scene().world.barrier();
    Finding finding = scene().call({"report", run.string(), "--out", (scene().scratch / "report.html").string(),
                                    "--svg-folder", pictures.string()});
    finding.result.clear();
    if (finding.is_refused || !scene().world.is_root()) return finding;
    for (const char* name : {"gradient-norm.svg", "tokens-per-s.svg", "load.svg"}) {
      finding.result += test::content_of(pictures / name);
    }
    return finding;
  }

  [[nodiscard]] std::string original() const { return (scene().scratch / "original").string(); }
};

}  // namespace

std::unique_ptr<Subject> run_logs(const Scene& scene) { return std::make_unique<RunLogs>(scene); }

}  // namespace conclave::fuzz
