// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints: sealed, and read by inspect, evaluate and train.
#include "runtime/train/checkpoint_folder.hpp"
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/fuzz/subject.hpp"
#include "tests/support/file_content.hpp"
#include "tests/support/sealed_file.hpp"

#include <fstream>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

class Checkpoints final : public Subject {
 public:
  using Subject::Subject;

  [[nodiscard]] std::vector<Change> changes() const override {
    return {Change::damaged,
            Change::damaged,
            Change::damaged,
            Change::damaged,
            Change::damaged_and_sealed,
            Change::damaged_and_sealed,
            Change::other_objects,
            Change::other_objects,
            Change::other_header,
            Change::other_structure};
  }
  [[nodiscard]] bool has_checksums() const override { return true; }

  [[nodiscard]] std::vector<fs::path> make_originals() const override {
    const fs::path text = scene().scratch / "labelled.tsv";
    if (scene().world.is_root()) {
      std::ofstream file(text);
      for (int i = 0; i < 40; ++i) file << (i % 2 == 0 ? "even" : "odd") << '\t' << "some text " << i << '\n';
    }
    scene().world.barrier();
    const std::vector<Words> kinds{
        {}, {"--expert-sharing", "base+delta", "--expert-rank", "2"}, {"--task", "classify", "--data", text.string()}};
    std::vector<fs::path> made;
    for (const Words& options : kinds) {
      const fs::path folder = scene().scratch / fmt::format("original-{}", made.size());
      Words words = small_text_training();
      words.insert(words.end(), options.begin(), options.end());
      words.insert(words.end(), {"--out", folder.string()});
      static_cast<void>(scene().call(words));
      made.push_back(train::checkpoint_path(folder, 2));
    }
    return made;
  }

  [[nodiscard]] fs::path place() const override { return scene().scratch / "step-00000002.h5"; }

  [[nodiscard]] std::string change(Change change, Draws& draws) const override {
    if (change == Change::damaged) return change_unsealed(place(), {}, change, draws);
    if (change == Change::other_header) return forge_header(place(), draws);
    std::string said;
    test::change_and_seal(place(), [&] {
      if (change == Change::damaged_and_sealed) {
        std::string bytes = test::content_of(place());
        said = damage_in_place(bytes, draws);
        test::write_content(place(), bytes);
      } else {
        said = change_unsealed(place(), scene().scratch / "original-0" / "step-00000002.h5", change, draws);
      }
    });
    return said;
  }

  [[nodiscard]] std::vector<Finding> examine() const override {
    const fs::path run = scene().scratch / "run";
    if (scene().world.is_root()) fs::remove_all(run);
    scene().world.barrier();
    const std::string file = place().string();
    const Index next = train::step_of(place()).value_or(0) + 1;
    std::vector<Finding> findings;
    findings.push_back(scene().call({"inspect", "--verify", file}));
    findings.push_back(scene().call({"inspect", "--digests", "--checkpoint", file}));
    findings.push_back(scene().call({"evaluate", "--threads", "1", "--sequences", "2", "--checkpoint", file}));
    Finding resumed = scene().call({"train", "--resume", file, "--out", run.string(), "--threads", "1", "--stop-after",
                                    fmt::format("{}", next), "--hang-timeout", "0"});
    // What was printed tells of times.
    if (!resumed.is_refused) resumed.result = test::content_of(train::checkpoint_path(run, next));
    findings.push_back(resumed);
    return findings;
  }
};

}  // namespace

std::unique_ptr<Subject> checkpoints(const Scene& scene) { return std::make_unique<Checkpoints>(scene); }

}  // namespace conclave::fuzz
