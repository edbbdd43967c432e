// SPDX-License-Identifier: BSD-3-Clause
// A few steps of training, and everything that they leave, tensor by tensor.
#pragma once

#include "runtime/train/trainer.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/train/temporary_folder.hpp"

#include <map>

namespace conclave::train {

/// A small model whose tensors all have a gradient in almost any step.
inline TrainOptions short_run_options() {
  TrainOptions o;
  o.model.layers = 2;
  o.model.width = 24;
  o.model.heads = 2;
  o.model.context = 8;
  o.model.dense_hidden = 32;
  o.model.router.experts = 4;
  o.model.router.capacity_factor = 0.0;
  o.model.experts.expert_hidden = {32};
  o.optimizer.warmup_steps = 0;
  o.optimizer.learning_rate = 0.01;
  o.sequences = 12;
  o.groups = 4;
  o.steps = 20;
  return o;
}

/// Tensors by their paths in a checkpoint.
using StoredTensors = std::map<std::string, std::vector<float>>;

inline void add_tensors(const Hdf5File& file, const std::string& group, StoredTensors& to) {
  for (const std::string& name : file.members(group)) {
    const std::string path = group + "/" + name;
    if (file.is_group(path)) {
      add_tensors(file, path, to);
    } else {
      to[path] = file.read<float>(path);
    }
  }
}

/// A trainer with a folder and data of its own. All members are collective over its communicator.
class ShortRun {
 public:
  ShortRun(TrainOptions options, const comm::Communicator& communicator)
      : communicator_(communicator),
        folder_(communicator.broadcast(mine_.path())),
        dataset_(make_dataset(options.data, options.model.context, options.seed)),
        trainer_(in_folder(std::move(options), folder_), *dataset_, communicator) {}

  [[nodiscard]] Trainer& trainer() { return trainer_; }

  /// Writes a checkpoint.
  std::filesystem::path save() {
    std::map<std::string, std::string> config;
    OptionTable table;
    TrainOptions options = trainer_.options();
    model::describe(options.model, table);
    for (const Option& option : table.options()) config[option.name] = option.text();
    const std::filesystem::path file = trainer_.save(config, {});
    communicator_.barrier();
    return file;
  }
  /// The parameters and the optimizer's state.
  StoredTensors tensors() {
    const Hdf5File file = Hdf5File::open(save());
    StoredTensors all;
    add_tensors(file, "/params", all);
    add_tensors(file, "/optimizer", all);
    return all;
  }
  void start_from(const std::filesystem::path& file) { trainer_.start_from(file, read_header(communicator_, file)); }

  ~ShortRun() { communicator_.barrier(); }
  ShortRun(const ShortRun&) = delete;
  ShortRun& operator=(const ShortRun&) = delete;

 private:
  static TrainOptions in_folder(TrainOptions options, const std::string& folder) {
    options.out = folder;
    return options;
  }
  // Several of one process, and alone on each rank: names differ.
  static std::string next_name() {
    static int count = 0;
    return fmt::format("_{}", count++);
  }
  const comm::Communicator& communicator_;
  TemporaryFolder mine_{next_name()};
  std::string folder_;
  std::unique_ptr<Dataset> dataset_;
  Trainer trainer_;
};

}  // namespace conclave::train
