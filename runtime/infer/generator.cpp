// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/infer/generator.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/random.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::infer {
namespace {

constexpr std::int32_t not_finite = -1;  // in the place of a token

}  // namespace

Index window_begin(Index length, Index context) {
  if (length <= context) return 0;
  const Index stride = context - context / 2;
  return (length - context + stride - 1) / stride * stride;
}

void refuse_unsuited_router(const model::ModelOptions& options, bool cache) {
  if (!cache || options.moe_every == 0) return;
  if (options.router.router != "expert_choice" && options.router.router != "least_loaded") return;
  throw InputError(fmt::format("router = {} with a cache: it decides about a token by those that come with it",
                               options.router.router),
                   "use --no-cache: each token then comes with all that the model sees");
}

std::vector<std::vector<std::int32_t>> Generator::generate(std::span<const Prompt> prompts,
                                                           FunctionRef<void(Index, std::int32_t)> told) {
  std::vector<std::vector<std::int32_t>> result;
  // A last batch of fewer texts has no more of them anywhere.
  const Index most = std::min(options_.batch, std::ssize(prompts));
  model::KeyValueCache<float> cache(model_.options(),
                                    even_share(most, communicator_.size(), communicator_.rank().value()).size());
  for (Index first = 0; first < std::ssize(prompts); first += options_.batch) {
    const Index count = std::min(options_.batch, std::ssize(prompts) - first);
    open(prompts.subspan(at(first), at(count)));
    while (next_pass()) {
      run_pass(cache);
      take_tokens(first, told);
    }
    for (const Text& text : texts_) {
      result.emplace_back(text.tokens.begin() + std::ssize(text.prompt->tokens), text.tokens.end());
    }
  }
  return result;
}

void Generator::open(std::span<const Prompt> prompts) {
  texts_.clear();
  for (const Prompt& prompt : prompts) {
    invariant(!prompt.tokens.empty(), "prompt {} has no token", prompt.number);
    texts_.push_back({.prompt = &prompt, .tokens = prompt.tokens, .is_done = options_.tokens < 1});
  }
}

// Those with the most unseen tokens; false if all texts are done.
bool Generator::next_pass() {
  pass_.rows = 0;
  for (Text& text : texts_) {
    if (text.is_done) continue;
    const Index begin = window_begin(std::ssize(text.tokens), model_.options().context);
    if (begin != text.begin || !options_.cache) text.seen = 0;
    text.begin = begin;
    pass_.rows = std::max(pass_.rows, text.unseen());
  }
  if (pass_.rows == 0) return false;
  pass_.texts.clear();
  pass_.of_rank.clear();
  for (RankId rank; rank < RankId{communicator_.size()}; ++rank) {
    const Index begin = std::ssize(pass_.texts);
    const Range share = even_share(std::ssize(texts_), communicator_.size(), rank.value());
    for (Index i = share.begin; i < share.end; ++i) {
      if (!texts_[at(i)].is_done && texts_[at(i)].unseen() == pass_.rows) pass_.texts.push_back(i);
    }
    pass_.of_rank.push_back({begin, std::ssize(pass_.texts)});
  }
  return true;
}

void Generator::run_pass(model::KeyValueCache<float>& cache) {
  const Index context = model_.options().context;
  const Range mine = pass_.of_rank[at(communicator_.rank().value())];
  const Index first_place = even_share(std::ssize(texts_), communicator_.size(), communicator_.rank().value()).begin;
  std::vector<Index> places, positions;
  std::vector<TokenId> first_tokens;
  std::vector<std::int32_t> tokens;
  for (Index i = mine.begin; i < mine.end; ++i) {
    const Index number = pass_.texts[at(i)];
    Text& text = texts_[at(number)];
    places.push_back(number - first_place);
    positions.push_back(text.seen);
    first_tokens.push_back(TokenId{number * context + text.seen});
    tokens.insert(tokens.end(), text.tokens.end() - pass_.rows, text.tokens.end());
  }
  const model::Continuation continued{places, positions, first_tokens};
  const model::Step step{.number = 0,
                         .training = false,
                         .num_groups = std::ssize(pass_.texts),
                         .num_groups_in_pass = std::ssize(pass_.texts),
                         .first_group = mine.begin,
                         .groups = {mine.size(), pass_.rows},
                         .times = &times_,
                         .notes_not_finite = true,
                         .continued = &continued};
  const ConstMatrixView<float> logits = model_.next_logits(step, tokens, cache);
  pass_.next.assign(pass_.texts.size(), 0);
  for (Index i = mine.begin; i < mine.end; ++i) {
    pass_.next[at(i)] = choose(texts_[at(pass_.texts[at(i)])], logits.row(i - mine.begin));
  }
  communicator_.gather_all_in_place<std::int32_t>(pass_.next, pass_.of_rank);
}

std::int32_t Generator::choose(const Text& text, std::span<const float> logits) const {
  if (!std::ranges::all_of(logits, [](float z) { return std::isfinite(z); })) return not_finite;
  const Random random(options_.seed, RandomStream::generate, text.prompt->number);
  return choose_token(logits, options_.choice, random.uniform(text.num_chosen(), text.prompt->sample));
}

void Generator::take_tokens(Index first, FunctionRef<void(Index, std::int32_t)> told) {
  if (std::ranges::find(pass_.next, not_finite) != pass_.next.end()) {
    throw InputError("the model's logits are not finite", "training has diverged: use an earlier checkpoint");
  }
  for (std::size_t i = 0; i < pass_.texts.size(); ++i) {
    Text& text = texts_[at(pass_.texts[i])];
    text.seen += pass_.rows;
    if (options_.end == pass_.next[i]) {
      text.is_done = true;
      continue;
    }
    text.tokens.push_back(pass_.next[i]);
    text.is_done = text.num_chosen() >= options_.tokens;
    told(first + pass_.texts[i], pass_.next[i]);
  }
}

}  // namespace conclave::infer
