// SPDX-License-Identifier: BSD-3-Clause
// The command `generate`: text from a checkpoint, token by token, on any number of ranks.
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/text_generation.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::vector<std::string> prompt{"\n"};
  std::string prompt_file;
  Index samples = 1;
  infer::GeneratorOptions generator{.tokens = 400};
  double capacity_factor = 0.0;
  std::string exchange;
  ComputeOptions compute;
};

void describe(GenerateOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Generation");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add_texts("prompt", o.prompt,
                  "what a text begins with, a line break unless given; of a model of pairs, a source. Given again, one "
                  "text more");
  table.add("prompt_file", o.prompt_file, "in place of prompts: a file with one a line");
  table.add("samples", o.samples, "texts of each prompt");
  table.add("tokens", o.generator.tokens, "bytes to add, at most; a target ends where the model ends it");
  table.add("temperature", o.generator.choice.temperature, "0: always the likeliest byte; 1: as the model believes");
  table.add("top_k", o.generator.choice.top_k, "draw among that many likeliest bytes; 0: all");
  table.add("top_p", o.generator.choice.top_p,
            "draw among the likeliest bytes that have that probability together; 1: all");
  table.add("seed", o.generator.seed, "of the draws: the same seed gives the same texts on any number of ranks");
  table.add("batch", o.generator.batch, "texts at a time, over all ranks");
  table.add("cache", o.generator.cache, "keep keys and values of earlier tokens; no: look at all again for every byte");
  table.add(
      "capacity_factor", o.capacity_factor,
      "0: no limit; negative: the run's eval_capacity_factor. A text's tokens that come together are a group: the "
      "prompt, then each byte by itself");
  table.add("exchange", o.exchange,
            "how rows travel between ranks: " + model::exchange_names() + "; empty: as in the run");
  conclave::describe(o.compute, table);
}

std::vector<infer::Prompt> prompts_of(const GenerateOptions& o, const train::TrainOptions& trained,
                                      const Session& session) {
  if (o.samples < 1) throw InputError(fmt::format("samples = {}", o.samples), "give 1 or more");
  std::vector<std::string> texts = o.prompt;
  if (!o.prompt_file.empty()) {
    if (session.given.contains("prompt")) {
      throw InputError(fmt::format("prompt_file = {} beside prompt", o.prompt_file), "give one of the two");
    }
    train::agreed(session.world, [&] { texts = read_prompts(o.prompt_file); });
  }
  std::vector<infer::Prompt> prompts;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (Index sample = 0; sample < o.samples; ++sample) {
      prompts.push_back({prompt_tokens(trained, texts[i]), static_cast<Index>(i), sample});
    }
  }
  return prompts;
}

// Byte by byte as it comes.
void put(std::int32_t token) {
  std::fputc(token, stdout);
  std::fflush(stdout);
}

void print_texts(const std::vector<infer::Prompt>& prompts, const std::vector<std::vector<std::int32_t>>& texts,
                 bool are_targets) {
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (!are_targets) fmt::print("== prompt {}, sample {}\n", prompts[i].number + 1, prompts[i].sample + 1);
    fmt::print("{}{}\n", text_of(prompts[i].tokens), text_of(texts[i]));
  }
}

int run(const GenerateOptions& o, const Session& session) {
  if (std::isnan(o.capacity_factor)) throw InputError("capacity_factor = nan", "give a number; 0: no limit");
  LoadedModel loaded = load_model(session, o.checkpoint, o.capacity_factor, o.compute, o.exchange);
  static_cast<void>(loaded.language_model());
  const std::vector<infer::Prompt> prompts = prompts_of(o, loaded.options, session);
  infer::GeneratorOptions options = o.generator;
  options.end = end_of_text(loaded.options);
  options.batch = std::min(options.batch, std::ssize(prompts));
  infer::Generator generator = make_generator(loaded, session, options);
  const bool is_root = session.world.is_root();
  const bool streams = prompts.size() == 1;
  if (is_root && streams) fmt::print("{}", text_of(prompts.front().tokens));
  const Clock::time_point start = Clock::now();
  const auto texts = generator.generate(prompts, [&](Index, std::int32_t token) {
    if (is_root && streams) put(token);
  });
  const double seconds = seconds_since(start);
  if (!is_root) return 0;
  if (streams) put('\n');
  if (!streams) print_texts(prompts, texts, options.end.has_value());
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", speed_text(texts, seconds));
  return 0;
}

}  // namespace

Command generate_command() {
  return make_command<GenerateOptions>("generate", "text from a checkpoint", "", describe, run);
}

}  // namespace conclave::apps
