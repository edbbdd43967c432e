// SPDX-License-Identifier: BSD-3-Clause
// Files of feature vectors: without a seal, as the program's own tests write them and as h5py does, read by train and
// evaluate.
#include "runtime/train/checkpoint_folder.hpp"
#include "tests/fuzz/subject.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/feature_file.hpp"

#include <hdf5.h>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

using train::Hdf5Handle;

constexpr hsize_t rows = 24;

/// As h5py does it by default: in the oldest format, which has no checksums; texts of variable length; values in
/// chunks, compressed.
void write_in_old_format(const train::FeatureFile& content, const fs::path& path) {
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  const auto write = [&](const char* name, hid_t stored, hid_t memory, std::vector<hsize_t> shape, const void* values,
                         bool is_compressed) {
    const Hdf5Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (is_compressed) {
      shape[0] = 7;
      H5Pset_chunk(creation.id(), static_cast<int>(shape.size()), shape.data());
      H5Pset_deflate(creation.id(), 4);
    }
    const Hdf5Handle set(H5Dcreate2(file.id(), name, stored, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                         H5Dclose);
    H5Dwrite(set.id(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  };
  const auto features = static_cast<hsize_t>(content.features);
  write("x", H5T_IEEE_F32LE, H5T_NATIVE_DOUBLE, {rows, features}, content.x.data(), true);
  write("label", H5T_STD_I32LE, H5T_NATIVE_INT64, {rows}, content.labels.data(), false);
  const Hdf5Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(text.id(), H5T_VARIABLE);
  std::vector<const char*> names;
  for (const std::string& name : content.names) names.push_back(name.c_str());
  write("class_names", text.id(), text.id(), {names.size()}, names.data(), false);
}

class FeatureFiles final : public Subject {
 public:
  using Subject::Subject;

  [[nodiscard]] std::vector<Change> changes() const override {
    return {Change::damaged,      Change::damaged,      Change::other_objects,  Change::other_objects,
            Change::other_values, Change::other_values, Change::other_structure};
  }
  [[nodiscard]] bool has_checksums() const override { return false; }

  [[nodiscard]] std::vector<fs::path> make_originals() const override {
    const std::vector<fs::path> made{scene().scratch / "plain.h5", scene().scratch / "old.h5"};
    if (scene().world.is_root()) {
      train::FeatureFile content = train::three_classes(static_cast<Index>(rows), 5);
      write_in_old_format(content, made[1]);
      train::write(content, made[0]);
    }
    scene().world.barrier();
    static_cast<void>(scene().call(training(made[0], scene().scratch / "trained")));
    return made;
  }

  [[nodiscard]] fs::path place() const override { return scene().scratch / "features.h5"; }

  [[nodiscard]] std::string change(Change change, Draws& draws) const override {
    return change_unsealed(place(), scene().scratch / "old.h5", change, draws);
  }

  [[nodiscard]] std::vector<Finding> examine() const override {
    const fs::path run = scene().scratch / "run";
    if (scene().world.is_root()) fs::remove_all(run);
    scene().world.barrier();
    Finding trained = scene().call(training(place(), run));
    // What was printed tells of times.
    if (!trained.is_refused) trained.result = test::content_of(train::checkpoint_path(run, 2));
    return {trained, scene().call({"evaluate", "--threads", "1", "--split", "all", "--data", place().string(),
                                   "--checkpoint", train::checkpoint_path(scene().scratch / "trained", 2).string()})};
  }

 private:
  static Words training(const fs::path& data, const fs::path& out) {
    Words words = small_training();
    words.insert(words.end(), {"--task", "classify", "--data", data.string(), "--out", out.string()});
    return words;
  }
};

}  // namespace

std::unique_ptr<Subject> feature_files(const Scene& scene) { return std::make_unique<FeatureFiles>(scene); }

}  // namespace conclave::fuzz
