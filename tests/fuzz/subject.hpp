// SPDX-License-Identifier: BSD-3-Clause
// A kind of HDF5 file that the program reads: how sound ones are made, how they are changed, and what reads them.
#pragma once

#include "tests/fuzz/called_command.hpp"
#include "tests/fuzz/draws.hpp"

#include <memory>
#include <string_view>

namespace conclave::fuzz {

/// How a file is changed. From `other_objects` on somebody means to mislead.
enum class Change { damaged, damaged_and_sealed, other_objects, other_values, other_header, other_structure };

/// Where a campaign works.
struct Scene {
  const comm::Communicator& world;
  const apps::BlasChoice& blas;
  std::filesystem::path scratch;  // a folder, the same on all ranks

  /// What a command prints goes into a file of this rank.
  [[nodiscard]] Finding call(const Words& words) const;
};

class Subject {
 public:
  explicit Subject(const Scene& scene) : scene_(scene) {}
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  /// How often each change is made, in proportion.
  [[nodiscard]] virtual std::vector<Change> changes() const = 0;
  /// Whether damage is told by checksums, so that a damaged file is refused or gives what the sound one gives; else its
  /// values are taken as they stand, and HDF5 meets the damage.
  [[nodiscard]] virtual bool has_checksums() const = 0;
  /// Makes sound files. May use this process up: what it needs later stands in the scene's folder. Collective.
  [[nodiscard]] virtual std::vector<std::filesystem::path> make_originals() const = 0;
  /// Where a file is put to be changed and read.
  [[nodiscard]] virtual std::filesystem::path place() const = 0;
  /// Changes the file at place() and says how. On one rank.
  [[nodiscard]] virtual std::string change(Change change, Draws& draws) const = 0;
  /// Everything of the program that reads such a file reads it. A failure that is no InputError is thrown on.
  /// Collective.
  [[nodiscard]] virtual std::vector<Finding> examine() const = 0;

 protected:
  [[nodiscard]] const Scene& scene() const { return scene_; }
  /// The options of a training of a few parameters, whatever its data; and of one on text.
  [[nodiscard]] static Words small_training();
  [[nodiscard]] static Words small_text_training();

 private:
  const Scene& scene_;
};

/// A change of a file that has no seal: all kinds but those that need one.
[[nodiscard]] std::string change_unsealed(const std::filesystem::path& file, const std::filesystem::path& foreign,
                                          Change change, Draws& draws);

[[nodiscard]] std::unique_ptr<Subject> checkpoints(const Scene& scene);
[[nodiscard]] std::unique_ptr<Subject> feature_files(const Scene& scene);
[[nodiscard]] std::unique_ptr<Subject> run_logs(const Scene& scene);
[[nodiscard]] std::unique_ptr<Subject> reference_cases(const Scene& scene);

struct SubjectKind {
  std::string_view name;
  std::unique_ptr<Subject> (*make)(const Scene& scene);
};
[[nodiscard]] std::span<const SubjectKind> subject_kinds();

}  // namespace conclave::fuzz
