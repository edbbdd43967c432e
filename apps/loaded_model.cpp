// SPDX-License-Identifier: BSD-3-Clause
#include "apps/loaded_model.hpp"

namespace conclave::apps {

LoadedModel load_model(const comm::Communicator& world, const std::string& path, double eval_capacity_factor) {
  if (path.empty()) {
    throw InputError("no checkpoint was named", "give --checkpoint a file or the folder that a run wrote into");
  }
  const OpenedCheckpoint opened = open_checkpoint(world, path);
  LoadedModel loaded;
  loaded.file = opened.file;
  for (const std::string& unknown : adopt_options(opened.header, {}, loaded.options)) {
    if (world.is_root()) fmt::print(stderr, "{}\n", unknown);
  }
  if (eval_capacity_factor >= 0.0) loaded.options.model.router.eval_capacity_factor = eval_capacity_factor;
  train::validate(loaded.options);
  loaded.step = train::integer_of(opened.header, "step", opened.file);
  loaded.exchange = comm::make_exchange(loaded.options.exchange, world);
  loaded.model = std::make_unique<model::LanguageModel<float>>(
      loaded.options.model, train::integer_of(opened.header, "vocabulary", opened.file), loaded.options.seed,
      model::Ranks{&world, loaded.exchange.get()});
  train::load_values(opened.file, world, *loaded.model);
  return loaded;
}

}  // namespace conclave::apps
