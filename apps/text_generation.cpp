// SPDX-License-Identifier: BSD-3-Clause
#include "apps/text_generation.hpp"

#include "apps/memory.hpp"
#include "runtime/train/mapped_file.hpp"
#include "runtime/train/text_lines.hpp"
#include "runtime/train/text_pairs.hpp"

namespace conclave::apps {
namespace {

bool has_pairs(const train::TrainOptions& trained) { return trained.data.data_format == train::DataFormat::pairs; }

}  // namespace

std::vector<std::string> read_prompts(const std::string& path) {
  const train::MappedFile file(path);
  std::vector<std::string> prompts;
  train::for_each_line(file.bytes(), [&](const train::TextLine& line) {
    if (line.text.empty()) {
      throw InputError(fmt::format("'{}' line {}: the line is empty", path, line.number), "a line is a prompt");
    }
    prompts.emplace_back(line.text);
  });
  if (prompts.empty()) throw InputError(fmt::format("there is no line in '{}'", path), "a line is a prompt");
  return prompts;
}

std::vector<std::int32_t> prompt_tokens(const train::TrainOptions& trained, const std::string& prompt) {
  if (prompt.empty()) throw InputError("the prompt is empty", "give at least one byte, e.g. --prompt ' '");
  std::vector<std::int32_t> tokens;
  for (const char c : prompt) tokens.push_back(static_cast<unsigned char>(c));
  if (has_pairs(trained)) tokens.push_back(train::pair_separator);
  return tokens;
}

std::optional<std::int32_t> end_of_text(const train::TrainOptions& trained) {
  return has_pairs(trained) ? std::optional(train::pair_end) : std::nullopt;
}

std::string text_of(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const std::int32_t token : tokens) text.push_back(static_cast<char>(token));
  return text;
}

infer::Generator make_generator(const LoadedModel& loaded, const Session& session,
                                const infer::GeneratorOptions& options) {
  infer::validate(options.choice);
  if (options.seed < 0 || options.seed > max_seed) {
    throw InputError(fmt::format("seed = {}", options.seed), fmt::format("give a whole number from 0 to {}", max_seed));
  }
  if (options.tokens < 0) throw InputError(fmt::format("tokens = {}", options.tokens), "give 0 or more");
  if (options.batch < 1) throw InputError(fmt::format("batch = {}", options.batch), "give 1 or more");
  model::LanguageModel<float>& model = loaded.language_model();
  infer::refuse_unsuited_router(model.options(), options.cache);
  const Index here = even_share(options.batch, session.world.size(), session.world.rank().value()).size();
  static_cast<void>(refuse_too_much_memory(
      session.world, {{"keys and values of texts", model::KeyValueCache<float>::bytes(model.options(), here)}}));
  return infer::Generator(model, session.world, options);
}

std::string speed_text(const std::vector<std::vector<std::int32_t>>& texts, double seconds) {
  Index tokens = 0;
  for (const auto& text : texts) tokens += std::ssize(text);
  return fmt::format("{} tokens of {} text{} in {:.3g} s: {:.4g} tokens/s", tokens, texts.size(),
                     texts.size() == 1 ? "" : "s", seconds, static_cast<double>(tokens) / seconds);
}

}  // namespace conclave::apps
