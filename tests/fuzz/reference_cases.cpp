// SPDX-License-Identifier: BSD-3-Clause
// Reference cases of the MoE layer: without a seal, in the oldest format, read by check.
#include "tests/fuzz/subject.hpp"

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

class ReferenceCases final : public Subject {
 public:
  using Subject::Subject;

  [[nodiscard]] std::vector<Change> changes() const override {
    return {Change::damaged,      Change::damaged,      Change::other_objects, Change::other_objects,
            Change::other_values, Change::other_values, Change::other_values,  Change::other_structure};
  }
  [[nodiscard]] bool has_checksums() const override { return false; }

  [[nodiscard]] std::vector<fs::path> make_originals() const override {
    std::vector<fs::path> all;
    for (const char* name : {"tiny", "rule", "hash", "heterogeneous", "least-loaded", "bernoulli", "expert-choice",
                             "sinkhorn-top2", "sigmoid-bias", "noisy-topk", "topk2-gshard-reroute",
                             "topk2-reroute-blocks", "uneven-experts", "balance-step"}) {
      all.push_back(fs::path(CONCLAVE_CASES) / fmt::format("{}.h5", name));
    }
    return all;
  }

  [[nodiscard]] fs::path place() const override { return scene().scratch / "case.h5"; }

  [[nodiscard]] std::string change(Change change, Draws& draws) const override {
    return change_unsealed(place(), fs::path(CONCLAVE_CASES) / "tiny.h5", change, draws);
  }

  [[nodiscard]] std::vector<Finding> examine() const override {
    return {scene().call({"check", "--precision", "double", "--threads", "1", place().string()})};
  }
};

}  // namespace

std::unique_ptr<Subject> reference_cases(const Scene& scene) { return std::make_unique<ReferenceCases>(scene); }

}  // namespace conclave::fuzz
