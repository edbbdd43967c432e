// SPDX-License-Identifier: BSD-3-Clause
// The command `generate`: text from a checkpoint, token by token.
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/loaded_model.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt = "\n";
  Index tokens = 400;
  double temperature = 0.8;
  Index seed = 1;
  std::string exchange;
  ComputeOptions compute;
};

void describe(GenerateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Generation");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("prompt", o.prompt, "what the text begins with; a line break unless given");
  table.add("tokens", o.tokens, "bytes to add");
  table.add("temperature", o.temperature, "0: always the likeliest byte; 1: as the model believes");
  table.add("seed", o.seed, "of the draws: the same seed gives the same text on any number of ranks");
  table.add("exchange", o.exchange,
            "how rows travel between ranks: " + model::exchange_names() + "; empty: as in the run");
  conclave::describe(o.compute, table);
}

/// The logits after a text's last token. The text's end stands at the begin of one sequence, what follows it is ignored
/// (attention looks back only, and without a capacity limit no token takes another's place).
class NextToken {
 public:
  NextToken(LoadedModel& loaded, const comm::Communicator& world)
      : model_(loaded.language_model()),
        world_(world),
        context_(static_cast<std::size_t>(loaded.options.model.context)) {}

  /// On the root; empty elsewhere. Collective.
  std::vector<float> logits(std::span<const std::int32_t> text) {
    const std::size_t used = std::min(text.size(), context_);
    std::vector<std::int32_t> sequence;
    if (world_.is_root()) {
      sequence.assign(text.end() - static_cast<std::ptrdiff_t>(used), text.end());
      sequence.resize(context_, 0);
    }
    const model::Step step{.number = 0,
                           .training = false,
                           .num_groups = 1,
                           .num_groups_in_pass = 1,
                           .first_group = 0,
                           .groups = {world_.is_root() ? 1 : 0, static_cast<Index>(context_)},
                           .times = &times_};
    const ConstMatrixView<float> all = model_.logits(step, sequence);
    if (!world_.is_root()) return {};
    const auto row = all.row(static_cast<Index>(used) - 1);
    return {row.begin(), row.end()};
  }

 private:
  model::LanguageModel<float>& model_;
  const comm::Communicator& world_;
  std::size_t context_;
  PhaseTimes times_;
};

// The token whose share of exp(logit / temperature) holds u of (0, 1).
std::int32_t sample(const std::vector<float>& logits, double temperature, double u) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature == 0.0) return static_cast<std::int32_t>(best - logits.begin());
  std::vector<double> weights;
  double total = 0.0;
  for (const float z : logits) {
    weights.push_back(std::exp((static_cast<double>(z) - static_cast<double>(*best)) / temperature));
    total += weights.back();
  }
  double reached = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    reached += weights[i] / total;
    if (u < reached) return static_cast<std::int32_t>(i);
  }
  return static_cast<std::int32_t>(best - logits.begin());  // u rounded up to the very end
}

int run(const GenerateOptions& o, const Session& session) {
  if (o.prompt.empty()) throw InputError("the prompt is empty", "give at least one byte, e.g. --prompt ' '");
  if (o.seed < 0 || o.seed > max_seed) {
    throw InputError(fmt::format("seed = {}", o.seed), fmt::format("give a whole number from 0 to {}", max_seed));
  }
  if (o.tokens < 0) throw InputError(fmt::format("tokens = {}", o.tokens), "give 0 or more");
  if (!(o.temperature >= 0.0) || std::isinf(o.temperature)) {
    throw InputError(fmt::format("temperature = {}", o.temperature), "give a finite number of at least 0");
  }
  LoadedModel loaded = load_model(session, o.checkpoint, 0.0, o.compute, o.exchange);
  std::vector<std::int32_t> text;
  for (const char c : o.prompt) text.push_back(static_cast<unsigned char>(c));
  NextToken next(loaded, session.world);
  if (session.world.is_root()) fmt::print("{}", o.prompt);
  const Random random(o.seed, RandomStream::generate);
  for (Index i = 0; i < o.tokens; ++i) {
    const std::vector<float> logits = next.logits(text);
    std::int32_t token = 0;
    if (session.world.is_root()) token = sample(logits, o.temperature, random.uniform(i, 0));
    session.world.broadcast(std::span(&token, 1));
    text.push_back(token);
    if (!session.world.is_root()) continue;
    std::fputc(token, stdout);
    std::fflush(stdout);
  }
  if (session.world.is_root()) std::fputc('\n', stdout);
  return 0;
}

}  // namespace

Command generate_command() {
  return make_command<GenerateOptions>("generate", "text from a checkpoint", "", describe, run);
}

}  // namespace conclave::apps
