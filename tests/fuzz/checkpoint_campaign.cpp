// SPDX-License-Identifier: BSD-3-Clause
// checkpoint_campaign FIRST COUNT [SEED]: makes checkpoints of several kinds, changes copies of them in COUNT ways,
// numbered from FIRST, and has every command that reads a checkpoint read each. It must be refused with an InputError,
// or give what the original gives, bit for bit; a forged one, whose checksums match, may give anything, but must not
// crash, hang or take memory without bounds. Only where somebody has forged the structure that HDF5 reads, HDF5 itself
// may crash: how often is told. What fails is kept, and can be made again by its number. On one rank each
// is read in a process of its own; on several, where none may fail alone, all are read in this one.
#include "apps/launch.hpp"
#include "comm/mpi/environment.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/examination.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/fuzz/limited_child.hpp"
#include "tests/support/file_content.hpp"
#include "tests/support/sealed_file.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

const Words small{"train", "--layers",         "1",  "--width",         "8", "--heads",      "1", "--context",
                  "6",     "--experts",        "3",  "--expert-hidden", "8", "--sequences",  "4", "--groups",
                  "2",     "--steps",          "20", "--threads",       "1", "--stop-after", "2", "--checkpoint-every",
                  "0",     "--eval-sequences", "2",  "--hang-timeout",  "0"};

/// Kinds of runs whose checkpoints are changed.
std::vector<Words> kinds_of_runs(const fs::path& scratch) {
  return {small, small + Words{"--expert-sharing", "base+delta", "--expert-rank", "2"},
          small + Words{"--task", "classify", "--data", (scratch / "labelled.tsv").string()}};
}

enum class Change { damaged, damaged_and_sealed, other_objects, other_header, other_structure };

constexpr std::array<const char*, 5> names_of_changes{"damaged", "damaged, sealed again", "forged: objects",
                                                      "forged: header", "forged: structure"};

struct Counts {
  Index done = 0;
  Index refused = 0;  // by every command
  Index same = 0;     // by some command the same as the original
  Index other = 0;    // a forged one was taken
  Index died = 0;     // in HDF5
  Index failed = 0;
};

/// The end of a child that was not the one looked for.
class BadEnding : public std::runtime_error {
 public:
  explicit BadEnding(const ChildEnding& ending) : std::runtime_error(ending.text), how(ending.how) {}
  ChildEnding::How how;
};

class Campaign {
 public:
  Campaign(const comm::Communicator& world, Index seed) : world_(world), seed_(seed) {
    std::string pattern = (fs::temp_directory_path() / "conclave-fuzz-XXXXXX").string();
    if (world.is_root()) pattern = ::mkdtemp(pattern.data());
    scratch_ = world.broadcast(pattern);
    if (!world.is_root()) return;
    std::ofstream text(scratch_ / "labelled.tsv");
    for (int i = 0; i < 40; ++i) text << (i % 2 == 0 ? "even" : "odd") << '\t' << "some text " << i << '\n';
  }

  void make_originals() {
    for (const Words& words : kinds_of_runs(scratch_)) {
      const fs::path folder = scratch_ / fmt::format("original-{}", std::ssize(originals_));
      const ChildEnding ending = guarded([&] {
        return call(words + Words{"--out", folder.string()}, scratch_ / "said", world_, blas_).result;
      });
      world_.barrier();
      Original original{test::content_of(train::checkpoint_path(folder, 2)), {}};
      if (original.bytes.empty()) throw std::runtime_error("no original was written: " + ending.text);
      put(original.bytes);
      original.findings = findings();
      for (const Finding& finding : original.findings) {
        if (finding.is_refused) throw std::runtime_error("an original is refused: " + finding.result);
      }
      originals_.push_back(std::move(original));
    }
  }

  void run(Index number) {
    Draws draws(seed_, number);
    const Original& original = originals_[static_cast<std::size_t>(draws.below(std::ssize(originals_)))];
    constexpr std::array<Change, 10> changes{Change::damaged,
                                             Change::damaged,
                                             Change::damaged,
                                             Change::damaged,
                                             Change::damaged_and_sealed,
                                             Change::damaged_and_sealed,
                                             Change::other_objects,
                                             Change::other_objects,
                                             Change::other_header,
                                             Change::other_structure};
    const Change change = draws.of<Change>(changes);
    if (change == Change::other_structure && world_.size() > 1) return;  // nothing would be left to go on
    put(original.bytes);
    std::string said;
    try {
      train::on_root(world_, [&] { said = changed(change, draws); });
    } catch (const InputError& error) {  // e.g. a zero byte in a text; what has been done to the file by then stays
      said = error.what();
    }
    judge(number, change, world_.broadcast(said), original);
  }

  /// Prints the table; whether all was well.
  bool report() {
    if (!world_.is_root()) return is_good_;
    fmt::print("{:<24}{:>8}{:>9}{:>8}{:>8}{:>12}{:>8}\n", "checkpoints", "done", "refused", "same", "taken",
               "HDF5 died", "failed");
    for (const auto& [change, c] : counts_) {
      fmt::print("{:<24}{:>8}{:>9}{:>8}{:>8}{:>12}{:>8}\n", names_of_changes[static_cast<std::size_t>(change)], c.done,
                 c.refused, c.same, c.other, c.died, c.failed);
    }
    if (is_good_) {
      fs::remove_all(scratch_);
    } else {
      fmt::print("what failed is kept in {}\n", scratch_.string());
    }
    return is_good_;
  }

 private:
  struct Original {
    std::string bytes;
    std::vector<Finding> findings;
  };

  [[nodiscard]] fs::path file() const { return scratch_ / "step-00000002.h5"; }

  void put(const std::string& bytes) {
    world_.barrier();
    if (world_.is_root()) std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes;
    world_.barrier();
  }

  std::string changed(Change change, Draws& draws) {
    std::string said;
    switch (change) {
      case Change::damaged: {
        std::string bytes = test::content_of(file());
        said = damage(bytes, draws);
        std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes;
        return said;
      }
      case Change::damaged_and_sealed:
        test::change_and_seal(file(), [&] {
          std::string bytes = test::content_of(file());
          said = damage_in_place(bytes, draws);
          std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes;
        });
        return said;
      case Change::other_objects:
        return forge_objects(file(), scratch_ / "original-0" / "step-00000002.h5", draws);
      case Change::other_header:
        return forge_header(file(), draws);
      case Change::other_structure:
        return forge_structure(file(), draws);
    }
    return said;
  }

  /// On one rank in a child; on several here, where an exception that is no InputError ends the job.
  ChildEnding guarded(const std::function<std::string()>& work) {
    if (world_.size() > 1) return {ChildEnding::How::done, work()};
    return in_child(work, (scratch_ / "child").string(), {});
  }

  std::vector<Finding> findings() {
    const ChildEnding ending = guarded([&] {
      nlohmann::json list = nlohmann::json::array();
      for (const Finding& f : examine(file(), scratch_, world_, blas_)) {
        list.push_back(
            {{"refused", f.is_refused}, {"result", std::vector<unsigned char>(f.result.begin(), f.result.end())}});
      }
      const std::vector<unsigned char> packed = nlohmann::json::to_cbor(list);
      return std::string(packed.begin(), packed.end());
    });
    if (ending.how != ChildEnding::How::done) throw BadEnding(ending);
    std::vector<Finding> all;
    for (const auto& entry : nlohmann::json::from_cbor(ending.text)) {
      const auto result = entry.at("result").get<std::vector<unsigned char>>();
      all.push_back({entry.at("refused").get<bool>(), std::string(result.begin(), result.end())});
    }
    return all;
  }

  void judge(Index number, Change change, const std::string& said, const Original& original) {
    const bool is_forged = change >= Change::other_objects;
    Counts& counts = counts_[change];
    ++counts.done;
    std::string failure;
    Index refused = 0;
    Index same = 0;
    try {
      const std::vector<Finding> found = findings();
      for (std::size_t i = 0; i < found.size(); ++i) {
        const bool is_same = found[i].result == original.findings[i].result;
        refused += found[i].is_refused ? 1 : 0;
        same += !found[i].is_refused && is_same ? 1 : 0;
        if (!found[i].is_refused && !is_same && !is_forged) failure += fmt::format("command {} gave other values; ", i);
      }
      counts.refused += refused == std::ssize(found) ? 1 : 0;
      counts.same += same > 0 ? 1 : 0;
      counts.other += refused + same < std::ssize(found) ? 1 : 0;
    } catch (const BadEnding& ending) {
      if (change == Change::other_structure && ending.how == ChildEnding::How::died) {
        ++counts.died;
        return;
      }
      failure = ending.what();
    }
    if (failure.empty()) return;
    ++counts.failed;
    is_good_ = false;
    if (!world_.is_root()) return;
    const fs::path kept = scratch_ / fmt::format("failed-{}.h5", number);
    fs::copy_file(file(), kept, fs::copy_options::overwrite_existing);
    fmt::print("{} ({}: {}): {}\n  again: checkpoint_campaign {} 1 {}\n", kept.string(),
               names_of_changes[static_cast<std::size_t>(change)], said, failure, number, seed_);
  }

  const comm::Communicator& world_;
  Index seed_;
  apps::BlasChoice blas_{};
  fs::path scratch_;
  std::vector<Original> originals_;
  std::map<Change, Counts> counts_;
  bool is_good_ = true;
};

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: checkpoint_campaign FIRST COUNT [SEED]\n");
    return 2;
  }
  apps::set_mpi_defaults();
  comm::Environment environment(argc, argv);
  try {
    make_blas_single_threaded();
    const Index first = std::atoll(argv[1]);
    const Index count = std::atoll(argv[2]);
    Campaign campaign(environment.world(), argc > 3 ? std::atoll(argv[3]) : 1);
    campaign.make_originals();
    for (Index number = first; number < first + count; ++number) campaign.run(number);
    return campaign.report() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "checkpoint_campaign: {}\n", error.what());
    if (environment.world().size() > 1) comm::Environment::abort(1);
    return 1;
  }
}

}  // namespace
}  // namespace conclave::fuzz

int main(int argc, char** argv) { return conclave::fuzz::main(argc, argv); }
