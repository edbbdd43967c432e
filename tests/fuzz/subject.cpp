// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/subject.hpp"

#include "runtime/core/error.hpp"
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/support/file_content.hpp"

#include <array>

namespace conclave::fuzz {

Finding Scene::call(const Words& words) const {
  return fuzz::call(words, scratch / fmt::format("said-{}", world.rank().value()), world, blas);
}

Words Subject::small_training() {
  return {"train", "--layers",         "1",  "--width",
          "8",     "--experts",        "3",  "--expert-hidden",
          "8",     "--sequences",      "4",  "--groups",
          "2",     "--steps",          "20", "--threads",
          "1",     "--stop-after",     "2",  "--checkpoint-every",
          "0",     "--eval-sequences", "2",  "--hang-timeout",
          "0"};
}

Words Subject::small_text_training() {
  Words words = small_training();
  words.insert(words.end(), {"--heads", "1", "--context", "6"});
  return words;
}

std::string change_unsealed(const std::filesystem::path& file, const std::filesystem::path& foreign, Change change,
                            Draws& draws) {
  switch (change) {
    case Change::damaged: {
      std::string bytes = test::content_of(file);
      const std::string said = damage(bytes, draws);
      test::write_content(file, bytes);
      return said;
    }
    case Change::other_objects:
      return forge_objects(file, foreign, draws);
    case Change::other_values:
      return forge_values(file, draws);
    case Change::other_structure:
      return forge_structure(file, draws);
    case Change::damaged_and_sealed:
    case Change::other_header:
      break;
  }
  throw InvariantError("a change of a file's seal, where there is none");
}

std::span<const SubjectKind> subject_kinds() {
  static constexpr std::array<SubjectKind, 4> kinds{
      {{"checkpoints", checkpoints}, {"features", feature_files}, {"runs", run_logs}, {"cases", reference_cases}}};
  return kinds;
}

}  // namespace conclave::fuzz
