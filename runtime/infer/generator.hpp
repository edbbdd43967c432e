// SPDX-License-Identifier: BSD-3-Clause
// Texts that a language model goes on with, token by token, on all ranks together.
//
// A batch of texts goes through the model at a time, each rank holding a contiguous even share of it: their attention
// and what is dense; experts compute where they are. A pass takes the texts that have the most tokens the model has not
// seen, as many of each: first prompts of one length after another, then the last token of every text. A text is a
// group of its own, which texts are in a batch and a pass depends on the request alone, and draws are a function of
// (seed, prompt, sample, position): so texts are the same for every number of ranks and threads.
//
// A model sees as many tokens as its context has. A longer text is seen through a window that moves on by half a
// context at a time (window_begin): its tokens are then read again from the window's first, which gets position 0. So a
// token sees between half a context and a whole one, and each is read twice at most.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/infer/token_choice.hpp"
#include "runtime/model/language_model.hpp"

#include <optional>
#include <vector>

namespace conclave::infer {

/// What is to be gone on with, and by which numbers its draws are known.
struct Prompt {
  std::vector<std::int32_t> tokens;  // at least one
  Index number = 0;
  Index sample = 0;
};

struct GeneratorOptions {
  ChoiceOptions choice{};
  Index seed = 1;
  Index tokens = 0;                   // of each text, at most
  std::optional<std::int32_t> end{};  // the token behind which a text ends, itself not part of it
  Index batch = 64;                   // texts at a time
  bool cache = true;                  // false: every token looks at its whole window again
};

/// The first token of a text of `length` tokens that a model of that context sees.
[[nodiscard]] Index window_begin(Index length, Index context);

/// Refuses, with an InputError, routers that decide about a token by those that come with it: token by token they would
/// route otherwise than they learned to. Nothing is refused without cache.
void refuse_unsuited_router(const model::ModelOptions& options, bool cache);

class Generator {
 public:
  /// What is referred to must outlive the generator.
  Generator(model::LanguageModel<float>& model, const comm::Communicator& communicator, const GeneratorOptions& options)
      : model_(model), communicator_(communicator), options_(options) {}

  /// What each prompt is gone on with, without the prompt; the same on every rank. `told` hears on every rank of each
  /// token when it is chosen: the prompt's place among `prompts`, and the token. InputError on every rank if logits are
  /// not finite. The prompts are the same on every rank. Collective.
  [[nodiscard]] std::vector<std::vector<std::int32_t>> generate(
      std::span<const Prompt> prompts, FunctionRef<void(Index, std::int32_t)> told = [](Index, std::int32_t) {});

 private:
  struct Text {
    const Prompt* prompt = nullptr;
    std::vector<std::int32_t> tokens;  // the prompt's and those chosen
    Index begin = 0;                   // of the window
    Index seen = 0;                    // tokens of the window that are in the cache
    bool is_done = false;
    [[nodiscard]] Index unseen() const { return std::ssize(tokens) - begin - seen; }
    [[nodiscard]] Index num_chosen() const { return std::ssize(tokens) - std::ssize(prompt->tokens); }
  };
  /// The texts of a pass, in order, and which of them each rank has.
  struct Pass {
    Index rows = 0;                  // new tokens of each
    std::vector<Index> texts;        // places in the batch
    std::vector<Range> of_rank;      // [ranks] of `texts`
    std::vector<std::int32_t> next;  // [texts] the tokens chosen
  };
  void open(std::span<const Prompt> prompts);
  [[nodiscard]] bool next_pass();
  void run_pass(model::KeyValueCache<float>& cache);
  [[nodiscard]] std::int32_t choose(const Text& text, std::span<const float> logits) const;
  void take_tokens(Index first, FunctionRef<void(Index, std::int32_t)> told);

  model::LanguageModel<float>& model_;
  const comm::Communicator& communicator_;
  GeneratorOptions options_;
  std::vector<Text> texts_;  // of the batch
  Pass pass_;
  PhaseTimes times_;
};

}  // namespace conclave::infer
