// SPDX-License-Identifier: BSD-3-Clause
// Going on with sequences by a cache: against the whole forward, and on one rank against several.
#include "runtime/infer/generator.hpp"

#include "runtime/core/at.hpp"
#include "tests/model/model_run.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::infer {
namespace {

using model::ModelOptions;
using test::world;

constexpr Index vocabulary = 11;

std::vector<std::int32_t> random_tokens(Index count, Index what) {
  std::vector<std::int32_t> tokens;
  const Random random(5, RandomStream::initial, what);
  for (Index i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(random.bits(i, 0) % vocabulary));
  return tokens;
}

struct ModelCase {
  std::string name;
  ModelOptions options;
};
void PrintTo(const ModelCase& c, std::ostream* out) { *out << c.name; }

ModelOptions dropless(Index context) {
  ModelOptions o = model::tiny();
  o.context = context;
  o.router.capacity_factor = o.router.eval_capacity_factor = 0.0;
  return o;
}

// Contexts of more than two blocks of attention.
std::vector<ModelCase> cases() {
  ModelCase every{"every_block_moe", dropless(150)};
  every.options.experts.shared_experts = 1;
  every.options.experts.shared_hidden = 7;
  ModelCase second{"every_second_tied", dropless(130)};
  second.options.moe_every = 2;
  second.options.tied_head = true;
  ModelCase dense{"dense", dropless(64)};
  dense.options.moe_every = 0;
  ModelCase random{"routing_by_draws", dropless(70)};
  random.options.router.router = "random";
  ModelCase turns{"routing_by_turns", dropless(70)};
  turns.options.router.router = "round_robin";
  return {every, second, dense, random, turns};
}

/// A language model with values of size 1 on the ranks of a communicator.
template <class T>
class Writer {
 public:
  Writer(const ModelOptions& options, const comm::Communicator& communicator)
      : communicator_(communicator),
        run_(options,
             {{.vocabulary = vocabulary},
              options.context,
              1,
              random_tokens(options.context, 1),
              random_tokens(options.context, 2),
              {},
              {}},
             communicator) {
    run_.spread_values();
  }
  [[nodiscard]] model::LanguageModel<T>& model() { return dynamic_cast<model::LanguageModel<T>&>(run_.model()); }

  /// [tokens, vocabulary] of whole sequences, one a group, on every rank.
  std::vector<T> logits(const std::vector<std::int32_t>& tokens) {
    const Index context = model().options().context;
    const Index count = std::ssize(tokens) / context;
    const Range mine = even_share(count, communicator_.size(), communicator_.rank().value());
    const model::Step step{0, false, count, count, mine.begin, {mine.size(), context}, &times_};
    return communicator_.gather_all(
        model().logits(step, std::span(tokens).subspan(at(mine.begin * context), at(mine.size() * context))).flat());
  }

  /// [sequences, vocabulary] after tokens [from, to) of each, which go on with what is in the cache.
  std::vector<T> next_logits(const std::vector<std::int32_t>& tokens, Range part, model::KeyValueCache<T>& cache) {
    const Index context = model().options().context;
    const Index count = std::ssize(tokens) / context;
    const Range mine = even_share(count, communicator_.size(), communicator_.rank().value());
    std::vector<Index> places, positions;
    std::vector<TokenId> first_tokens;
    std::vector<std::int32_t> rows;
    for (Index i = mine.begin; i < mine.end; ++i) {
      places.push_back(i - mine.begin);
      positions.push_back(part.begin);
      first_tokens.push_back(TokenId{i * context + part.begin});
      const auto begin = tokens.begin() + i * context;
      rows.insert(rows.end(), begin + part.begin, begin + part.end);
    }
    const model::Continuation continued{places, positions, first_tokens};
    model::Step step{0, false, count, count, mine.begin, {mine.size(), part.size()}, &times_};
    step.continued = &continued;
    return communicator_.gather_all(model().next_logits(step, rows, cache).flat());
  }

 private:
  const comm::Communicator& communicator_;
  test::ModelRun<T> run_;
  PhaseTimes times_;
};

class CacheTest : public testing::TestWithParam<ModelCase> {};
INSTANTIATE_TEST_SUITE_P(Each, CacheTest, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

// In double: rounding is far below any other difference.
TEST_P(CacheTest, GivesTheLogitsOfTheWholeForward) {
  const Index context = GetParam().options.context;
  for (const Index sequences : {1, 3}) {
    const std::vector<std::int32_t> tokens = random_tokens(sequences * context, 7);
    Writer<double> writer(GetParam().options, world());
    const std::vector<double> whole = writer.logits(tokens);
    ASSERT_EQ(std::ssize(whole), sequences * context * vocabulary);
    const Range mine = even_share(sequences, world().size(), world().rank().value());
    model::KeyValueCache<double> cache(GetParam().options, mine.size());
    Index end = 0;
    for (const Index rows : {Index{3}, Index{1}, Index{1}, Index{40}, Index{1}, Index{17}, Index{1}, context}) {
      const Range part{end, std::min(context, end + rows)};
      end = part.end;
      if (part.size() == 0) break;
      const std::vector<double> next = writer.next_logits(tokens, part, cache);
      for (Index s = 0; s < sequences; ++s) {
        for (Index v = 0; v < vocabulary; ++v) {
          ASSERT_NEAR(next[at(s * vocabulary + v)], whole[at(((s + 1) * context - context + end - 1) * vocabulary + v)],
                      1e-10)
              << "sequence " << s << " of " << sequences << ", after token " << end - 1;
        }
      }
    }
    EXPECT_EQ(end, context);
  }
}

TEST(Cache, KnowsWhatItTakes) {
  EXPECT_EQ(model::KeyValueCache<float>::bytes(dropless(10), 3), 2.0 * 2 * 3 * 10 * 8 * 4);
}

TEST(Cache, IsNotGoneOnWithBehindTheContext) {
  Writer<float> writer(dropless(8), world());
  const std::vector<std::int32_t> tokens = random_tokens(8 * world().size(), 7);  // a sequence a rank
  model::KeyValueCache<float> cache(dropless(8), 1);
  static_cast<void>(writer.next_logits(tokens, {0, 8}, cache));
  std::vector<std::int32_t> more = tokens;
  more.resize(more.size() + 8, 0);
  const std::vector<Index> places{0}, positions{8};
  const std::vector<TokenId> first_tokens{TokenId{8}};
  const model::Continuation continued{places, positions, first_tokens};
  PhaseTimes times;
  model::Step step{0, false, world().size(), world().size(), world().rank().value(), {1, 1}, &times};
  step.continued = &continued;
  EXPECT_THROW(static_cast<void>(writer.model().next_logits(step, std::vector<std::int32_t>{1}, cache)),
               InvariantError);
}

// --- Texts ---

// Prompts of one token, of several, as long as the context of 8 and longer; each twice.
std::vector<Prompt> prompts() {
  std::vector<Prompt> result;
  Index number = 0;
  for (const Index length : {1, 5, 2, 8, 5, 21}) {
    for (Index sample = 0; sample < 2; ++sample) {
      result.push_back({random_tokens(length, 40 + number), number, sample});
    }
    ++number;
  }
  return result;
}

constexpr Index num_tokens = 11;  // some windows move once, some twice

GeneratorOptions drawing() {
  return {.choice = {.temperature = 1.5, .top_k = 7, .top_p = 0.95}, .seed = 3, .tokens = num_tokens, .batch = 5};
}

using Texts = std::vector<std::vector<std::int32_t>>;

Texts generate(const ModelOptions& options, const GeneratorOptions& how, const comm::Communicator& communicator) {
  Writer<float> writer(options, communicator);
  return Generator(writer.model(), communicator, how).generate(prompts());
}

TEST(Generator, WritesTheSameOnAnyNumberOfRanksAndThreads) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const bool cache : {true, false}) {
    GeneratorOptions how = drawing();
    how.cache = cache;
    const Texts expected = generate(dropless(8), how, alone);
    ASSERT_EQ(expected.size(), prompts().size());
    EXPECT_NE(expected[2], expected[3]) << "two samples of one prompt";
    for (const auto& text : expected) EXPECT_EQ(std::ssize(text), num_tokens);
    for (Index threads = 1; threads <= (cache ? 2 : 1); ++threads) {
      const test::Threads use(threads);
      EXPECT_EQ(generate(dropless(8), how, world()), expected) << threads << " threads, cache " << cache;
    }
  }
}

TEST(Generator, DrawsByTheSeed) {
  GeneratorOptions how = drawing();
  const Texts one = generate(dropless(8), how, world());
  how.seed = 4;
  EXPECT_NE(generate(dropless(8), how, world()), one);
}

// Token by token against the whole forward over the window: what is written is the likeliest there.
TEST(Generator, WritesTheLikeliestTokenOfTheWindowThatItSees) {
  for (const bool cache : {true, false}) {
    const ModelOptions options = dropless(8);
    Writer<float> writer(options, world());
    const GeneratorOptions how{.choice = {.temperature = 0.0}, .tokens = 15, .batch = 64, .cache = cache};
    const Texts texts = Generator(writer.model(), world(), how).generate(prompts());
    for (std::size_t i = 0; i < texts.size(); i += 2) {
      EXPECT_EQ(texts[i], texts[i + 1]);
      std::vector<std::int32_t> text = prompts()[i].tokens;
      for (const std::int32_t token : texts[i]) {
        const Index begin = window_begin(std::ssize(text), options.context);
        std::vector<std::int32_t> window(text.begin() + begin, text.end());
        const Index last = std::ssize(window) - 1;
        window.resize(at(options.context), 0);
        const std::vector<float> all = writer.logits(window);
        const std::span<const float> logits = std::span(all).subspan(at(last * vocabulary), vocabulary);
        EXPECT_GE(logits[at(token)], std::ranges::max(logits) - 1e-4F) << "prompt " << i << ", token " << text.size();
        text.push_back(token);
      }
    }
  }
}

TEST(Generator, TellsEveryTokenAndEndsWhereTheModelDoes) {
  Writer<float> writer(dropless(8), world());
  const Texts whole = Generator(writer.model(), world(), drawing()).generate(prompts());
  GeneratorOptions ending = drawing();
  ending.end = whole[0][3];
  Texts told(prompts().size());
  const Texts ended = Generator(writer.model(), world(), ending).generate(prompts(), [&](Index i, std::int32_t token) {
    told[at(i)].push_back(token);
  });
  EXPECT_EQ(told, ended);
  std::size_t shorter = 0;
  for (const auto& text : ended) {
    EXPECT_EQ(std::ranges::find(text, *ending.end), text.end());
    shorter += std::ssize(text) < num_tokens ? 1 : 0;
  }
  EXPECT_GT(shorter, 0U);
  EXPECT_LE(ended[0].size(), 3U);
}

TEST(Generator, WritesNothingWhereNothingIsAskedFor) {
  Writer<float> writer(dropless(8), world());
  GeneratorOptions how = drawing();
  EXPECT_EQ(Generator(writer.model(), world(), how).generate({}), Texts{});
  how.tokens = 0;
  EXPECT_EQ(Generator(writer.model(), world(), how).generate(prompts()), Texts(prompts().size()));
}

TEST(Generator, RefusesRoutersThatNeedTheOtherTokens) {
  ModelOptions options = dropless(8);
  EXPECT_NO_THROW(refuse_unsuited_router(options, true));
  for (const char* router : {"expert_choice", "least_loaded"}) {
    options.router.router = router;
    EXPECT_THROW(refuse_unsuited_router(options, true), InputError);
    EXPECT_NO_THROW(refuse_unsuited_router(options, false));
  }
  options.moe_every = 0;
  EXPECT_NO_THROW(refuse_unsuited_router(options, true));
}

TEST(Window, MovesOnByHalfAContext) {
  for (const auto& [length, begin] : std::vector<std::pair<Index, Index>>{{1, 0}, {8, 0}, {9, 4}, {12, 4}, {13, 8}}) {
    EXPECT_EQ(window_begin(length, 8), begin) << length;
  }
  for (Index context = 1; context < 9; ++context) {
    for (Index length = 1; length < 40; ++length) {
      const Index size = length - window_begin(length, context);
      EXPECT_LE(size, context);
      EXPECT_GE(size, std::min(length, context / 2 + 1));
    }
  }
}

}  // namespace
}  // namespace conclave::infer
