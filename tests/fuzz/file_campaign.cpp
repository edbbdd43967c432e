// SPDX-License-Identifier: BSD-3-Clause
// file_campaign KIND FIRST COUNT [SEED]: makes sound HDF5 files of a kind (checkpoints, features, runs, cases), changes
// copies of them in COUNT ways, numbered from FIRST, and has every command that reads such a file read each. It must be
// refused with an InputError, or, where checksums tell damage, give what the original gives, bit for bit; where there
// are none, and where checksums were forged, it may give anything, but must not crash, hang or take memory without
// bounds. Only where HDF5 meets damage that no checksum tells may HDF5 itself crash or run on: how often is told. What
// fails is kept, and can be made again by its number. On one rank each is read in a process of its own; on several,
// where none may fail alone, all are read in this one, but for changes that may crash it.
#include "apps/launch.hpp"
#include "comm/mpi/environment.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/train/agreed.hpp"
#include "tests/fuzz/limited_child.hpp"
#include "tests/fuzz/subject.hpp"
#include "tests/support/file_content.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 6> names_of_changes{"damaged",        "damaged, sealed again", "forged: objects",
                                                      "forged: values", "forged: header",        "forged: structure"};

struct Counts {
  Index done = 0;
  Index refused = 0;  // by every command
  Index same = 0;     // by some command the same as the original
  Index other = 0;    // other values were taken
  Index died = 0;     // in HDF5
  Index endless = 0;  // in HDF5
  Index failed = 0;
};

/// The end of a child that was not the one looked for.
class BadEnding : public std::runtime_error {
 public:
  explicit BadEnding(const ChildEnding& how) : std::runtime_error(how.text), ending(how) {}
  ChildEnding ending;
};

fs::path new_folder(const comm::Communicator& world) {
  std::string pattern = (fs::temp_directory_path() / "conclave-fuzz-XXXXXX").string();
  if (world.is_root()) pattern = ::mkdtemp(pattern.data());
  return world.broadcast(pattern);
}

class Campaign {
 public:
  Campaign(const SubjectKind& kind, const comm::Communicator& world, Index seed)
      : kind_(kind), world_(world), seed_(seed), scene_{world, blas_, new_folder(world)}, subject_(kind.make(scene_)) {}

  void make_originals() {
    const ChildEnding ending = guarded([&] {
      std::string paths;
      for (const fs::path& path : subject_->make_originals()) paths += path.string() + '\n';
      return paths;
    });
    world_.barrier();
    std::istringstream paths(ending.text);
    for (std::string path; std::getline(paths, path);) {
      Original original{test::content_of(path), {}};
      if (original.bytes.empty()) throw std::runtime_error("no original was written: " + ending.text);
      put(original.bytes);
      original.findings = findings();
      for (const Finding& finding : original.findings) {
        if (finding.is_refused) throw std::runtime_error(fmt::format("{} is refused: {}", path, finding.result));
      }
      originals_.push_back(std::move(original));
    }
  }

  void run(Index number) {
    Draws draws(seed_, number);
    const Original& original = draws.of<Original>(originals_);
    const std::vector<Change> changes = subject_->changes();
    const Change change = draws.of<Change>(changes);
    if (may_die(change) && world_.size() > 1) return;  // nothing would be left to go on
    put(original.bytes);
    std::string said;
    try {
      train::on_root(world_, [&] { said = subject_->change(change, draws); });
    } catch (const InputError& error) {  // e.g. a zero byte in a text; what has been done to the file by then stays
      said = error.what();
    }
    judge(number, change, world_.broadcast(said), original);
  }

  /// Prints the table; whether all was well.
  bool report() {
    if (!world_.is_root()) return is_good_;
    fmt::print("{:<24}{:>8}{:>9}{:>8}{:>8}{:>12}{:>14}{:>8}\n", kind_.name, "done", "refused", "same", "taken",
               "HDF5 died", "HDF5 endless", "failed");
    for (const auto& [change, c] : counts_) {
      fmt::print("{:<24}{:>8}{:>9}{:>8}{:>8}{:>12}{:>14}{:>8}\n", names_of_changes[static_cast<std::size_t>(change)],
                 c.done, c.refused, c.same, c.other, c.died, c.endless, c.failed);
    }
    if (is_good_) {
      fs::remove_all(scene_.scratch);
    } else {
      fmt::print("what failed is kept in {}\n", scene_.scratch.string());
    }
    return is_good_;
  }

 private:
  struct Original {
    std::string bytes;
    std::vector<Finding> findings;
  };

  [[nodiscard]] bool may_die(Change change) const {
    return change == Change::other_structure || (change == Change::damaged && !subject_->has_checksums());
  }
  [[nodiscard]] bool must_be_told(Change change) const {
    return subject_->has_checksums() && change < Change::other_objects;
  }

  void put(const std::string& bytes) {
    world_.barrier();
    if (world_.is_root()) test::write_content(subject_->place(), bytes);
    world_.barrier();
  }

  /// On one rank in a child; on several here, where an exception that is no InputError ends the job.
  ChildEnding guarded(const std::function<std::string()>& work) {
    if (world_.size() > 1) return {ChildEnding::How::done, work(), {}};
    return in_child(work, (scene_.scratch / "child").string(), {});
  }

  std::vector<Finding> findings() {
    const ChildEnding ending = guarded([&] {
      nlohmann::json list = nlohmann::json::array();
      for (const Finding& f : subject_->examine()) {
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
    Counts& counts = counts_[change];
    ++counts.done;
    std::string failure;
    try {
      failure = compare(findings(), original, must_be_told(change), counts);
    } catch (const BadEnding& bad) {
      if (may_die(change) && bad.ending.died_in.find("libhdf5") != std::string::npos) {
        ++(bad.ending.how == ChildEnding::How::endless ? counts.endless : counts.died);
        return;
      }
      failure = bad.what();
    }
    if (failure.empty()) return;
    ++counts.failed;
    is_good_ = false;
    if (!world_.is_root()) return;
    const fs::path kept = scene_.scratch / fmt::format("failed-{}.h5", number);
    fs::copy_file(subject_->place(), kept, fs::copy_options::overwrite_existing);
    fmt::print("{} ({}: {}): {}\n  again: file_campaign {} {} 1 {}\n", kept.string(),
               names_of_changes[static_cast<std::size_t>(change)], said, failure, kind_.name, number, seed_);
  }

  /// What is wrong with findings that have been counted.
  static std::string compare(const std::vector<Finding>& found, const Original& original, bool must_be_told,
                             Counts& counts) {
    std::string wrong;
    Index refused = 0;
    Index same = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const bool is_same = found[i].result == original.findings[i].result;
      refused += found[i].is_refused ? 1 : 0;
      same += !found[i].is_refused && is_same ? 1 : 0;
      if (!found[i].is_refused && !is_same && must_be_told) wrong += fmt::format("command {} gave other values; ", i);
    }
    counts.refused += refused == std::ssize(found) ? 1 : 0;
    counts.same += same > 0 ? 1 : 0;
    counts.other += refused + same < std::ssize(found) ? 1 : 0;
    return wrong;
  }

  const SubjectKind& kind_;
  const comm::Communicator& world_;
  Index seed_;
  apps::BlasChoice blas_{};
  Scene scene_;
  std::unique_ptr<Subject> subject_;
  std::vector<Original> originals_;
  std::map<Change, Counts> counts_;
  bool is_good_ = true;
};

int main(int argc, char** argv) {
  const auto kind = std::ranges::find(subject_kinds(), std::string_view(argc > 1 ? argv[1] : ""), &SubjectKind::name);
  if (argc < 4 || kind == subject_kinds().end()) {
    fmt::print(stderr, "usage: file_campaign checkpoints|features|runs|cases FIRST COUNT [SEED]\n");
    return 2;
  }
  apps::set_mpi_defaults();
  comm::Environment environment(argc, argv);
  try {
    make_blas_single_threaded();
    const Index first = std::atoll(argv[2]);
    const Index count = std::atoll(argv[3]);
    Campaign campaign(*kind, environment.world(), argc > 4 ? std::atoll(argv[4]) : 1);
    campaign.make_originals();
    for (Index number = first; number < first + count; ++number) campaign.run(number);
    return campaign.report() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "file_campaign: {}\n", error.what());
    if (environment.world().size() > 1) comm::Environment::abort(1);
    return 1;
  }
}

}  // namespace
}  // namespace conclave::fuzz

int main(int argc, char** argv) { return conclave::fuzz::main(argc, argv); }
