// SPDX-License-Identifier: BSD-3-Clause
// Texts as the tokens of a loaded model, and back: for the commands that have it write.
#pragma once

#include "apps/loaded_model.hpp"
#include "runtime/infer/generator.hpp"

namespace conclave::apps {

/// A file's lines as texts. InputError, naming file and line, for a line that is empty, and for a file without lines.
[[nodiscard]] std::vector<std::string> read_prompts(const std::string& path);

/// The tokens of a prompt: its bytes, and for a model of pairs the tab that ends a source. InputError if it is empty.
[[nodiscard]] std::vector<std::int32_t> prompt_tokens(const train::TrainOptions& trained, const std::string& prompt);
/// What a model of pairs ends a target with; nothing for others.
[[nodiscard]] std::optional<std::int32_t> end_of_text(const train::TrainOptions& trained);
[[nodiscard]] std::string text_of(std::span<const std::int32_t> tokens);

/// A language model that writes, of a checkpoint. InputError, with the values and the remedy, for options out of range,
/// for a router that a cache does not suit, and where the cache would take more memory than there is. Collective.
[[nodiscard]] infer::Generator make_generator(const LoadedModel& loaded, const Session& session,
                                              const infer::GeneratorOptions& options);

/// "400 tokens of 1 text in 0.52 s: 769 tokens/s"
[[nodiscard]] std::string speed_text(const std::vector<std::vector<std::int32_t>>& texts, double seconds);

}  // namespace conclave::apps
