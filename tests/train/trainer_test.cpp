// SPDX-License-Identifier: BSD-3-Clause
// A run has the same bits on any number of ranks and threads, and cut and resumed on any other number of ranks. Each
// rank repeats the run alone, on a communicator of its own, and compares.
#include "runtime/train/trainer.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/random.hpp"
#include "tests/support/file_content.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace conclave::train {
namespace {

using test::content_of;
using test::world;

TrainOptions small_run(const std::filesystem::path& out) {
  TrainOptions o;
  o.model.layers = 2;
  o.model.width = 40;  // wide enough that a row's bits do depend on how many share its product
  o.model.heads = 2;
  o.model.context = 16;
  o.model.router.experts = 5;
  o.model.router.capacity_factor = 1.0;
  o.model.router.selection_bias = true;
  o.model.router.noise = true;
  o.model.router.jitter = 0.01;
  o.model.experts.expert_kind = {"gelu", "swiglu", "relu"};
  o.model.experts.expert_hidden = {48, 40};
  o.model.experts.shared_experts = 1;
  o.model.experts.shared_hidden = 36;
  o.optimizer.warmup_steps = 4;
  o.sequences = 10;
  o.groups = 5;  // divides among no tested number of ranks but one
  o.steps = 20;
  o.eval_sequences = 11;  // with a smaller last group
  o.out = out.string();
  return o;
}

/// What a run leaves behind: losses, norms and drops of each step, the evaluation, and the checkpoint's bytes.
struct Outcome {
  std::vector<double> numbers;
  std::string checkpoint;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Bitwise equality; says where the first difference is.
void expect_same(const Outcome& got, const Outcome& want) {
  ASSERT_EQ(got.numbers.size(), want.numbers.size());
  for (std::size_t i = 0; i < got.numbers.size(); ++i) {
    ASSERT_EQ(got.numbers[i], want.numbers[i]) << "number " << i << " of " << got.numbers.size();
  }
  ASSERT_EQ(got.checkpoint.size(), want.checkpoint.size());
  for (std::size_t i = 0; i < got.checkpoint.size(); ++i) {
    ASSERT_EQ(got.checkpoint[i], want.checkpoint[i]) << "byte " << i << " of the checkpoint";
  }
}

void add(const StepRecord& step, Outcome& outcome) {
  outcome.numbers.insert(outcome.numbers.end(), {step.loss, step.router_loss, step.gradient_norm, step.drop_rate()});
  for (const model::LayerStatistics& s : step.layers) {
    outcome.numbers.insert(outcome.numbers.end(), {s.balance, s.z, s.entropy});
    for (const Index load : s.load) outcome.numbers.push_back(static_cast<double>(load));
  }
  for (const model::DropRecord& d : step.drops) {
    for (const Index entry : {d.layer, d.token, d.choice, d.expert, static_cast<Index>(d.reason)}) {
      outcome.numbers.push_back(static_cast<double>(entry));
    }
  }
}

void finish(Trainer& trainer, const comm::Communicator& communicator, Outcome& outcome) {
  const Evaluation evaluation = trainer.evaluate();
  outcome.numbers.insert(outcome.numbers.end(), {evaluation.loss, evaluation.accuracy});
  for (const std::vector<double>& about_layers : {evaluation.layer_agreement, evaluation.domain_information}) {
    outcome.numbers.insert(outcome.numbers.end(), about_layers.begin(), about_layers.end());
  }
  for (const Index count : evaluation.confusion.counts()) outcome.numbers.push_back(static_cast<double>(count));
  const auto file = trainer.save({}, {});
  communicator.barrier();
  outcome.checkpoint = content_of(file);
}

/// A folder that all ranks of a communicator know, or each rank its own.
std::filesystem::path shared_folder(const comm::Communicator& communicator, const std::filesystem::path& mine) {
  return communicator.broadcast(mine.string());
}

Outcome train_whole(TrainOptions options, const comm::Communicator& communicator,
                    std::span<const ExpertMap> placement = {}) {
  const TemporaryFolder folder;
  options.out = shared_folder(communicator, folder.path()).string();
  const auto dataset = make_samples(options);
  Trainer trainer(options, *dataset, communicator, placement);
  Outcome outcome;
  for (Index i = 0; i < options.steps; ++i) add(trainer.step(), outcome);
  finish(trainer, communicator, outcome);
  communicator.barrier();
  return outcome;
}

/// Trains half on one communicator, the rest on another, there with a placement. Both must be entered by the ranks that
/// call.
Outcome train_cut(TrainOptions options, const comm::Communicator& first, const comm::Communicator& second,
                  std::span<const ExpertMap> placement = {}) {
  const TemporaryFolder mine;
  const std::filesystem::path folder = shared_folder(world(), mine.path());
  const auto dataset = make_samples(options);
  Outcome outcome;
  const Index half = options.steps / 2;
  // Where every rank is alone it writes for itself.
  const auto folder_for = [&](const comm::Communicator& c) {
    return c.size() == 1 ? std::filesystem::path(mine.path()) : folder;
  };
  std::filesystem::path file;
  {
    options.out = folder_for(first).string();
    Trainer trainer(options, *dataset, first);
    for (Index i = 0; i < half; ++i) add(trainer.step(), outcome);
    file = trainer.save({{"note", "half"}}, {});
  }
  if (second.size() > 1) file = shared_folder(world(), file);
  world().barrier();
  options.out = folder_for(second).string();
  Trainer trainer(options, *dataset, second, placement);
  trainer.restore(file, read_header(second, file));
  EXPECT_EQ(trainer.steps_done(), half);
  for (Index i = half; i < options.steps; ++i) add(trainer.step(), outcome);
  finish(trainer, second, outcome);
  world().barrier();
  return outcome;
}

/// Some experts on some ranks, in each layer others; ranks may have none, or all.
std::vector<ExpertMap> some_placement(const TrainOptions& options, Index num_ranks, Index seed) {
  const Random random(seed, RandomStream::initial);
  std::vector<ExpertMap> maps;
  for (Index layer = 0; layer < options.model.layers / options.model.moe_every; ++layer) {
    std::vector<RankId> owners;
    for (Index e = 0; e < options.model.router.experts; ++e) {
      owners.push_back(RankId{static_cast<Index>(random.uniform(layer, e) * static_cast<double>(num_ranks))});
    }
    maps.emplace_back(std::move(owners), num_ranks);
  }
  return maps;
}

/// Each expert on one rank or on several, in each layer others; ranks may host none, or replicas alone.
std::vector<ExpertMap> some_replicas(const TrainOptions& options, Index num_ranks, Index seed) {
  const Random random(seed, RandomStream::initial);
  std::vector<ExpertMap> maps;
  for (const ExpertMap& one_each : some_placement(options, num_ranks, seed)) {
    const auto layer = std::ssize(maps);
    std::vector<std::vector<RankId>> hosts;
    for (ExpertId e; e < ExpertId{one_each.num_experts()}; ++e) {
      auto& of_expert = hosts.emplace_back();
      for (RankId rank; rank < RankId{num_ranks}; ++rank) {
        const bool is_thrown = random.uniform(layer, 100 * (e.value() + 1) + rank.value()) < 0.4;
        if (rank == one_each.owner(e) || is_thrown) of_expert.push_back(rank);
      }
    }
    maps.push_back(ExpertMap::with_replicas(std::move(hosts), num_ranks));
  }
  return maps;
}

class TrainerBits : public testing::Test {
 protected:
  void SetUp() override { use_threads(1); }
  void TearDown() override { use_threads(1); }
  comm::Communicator alone_ = world().split(world().rank().value());
};

TEST_F(TrainerBits, AreTheSameOnAnyNumberOfRanksAndThreads) {
  const TrainOptions options = small_run("");
  const Outcome reference = train_whole(options, alone_);
  ASSERT_GT(reference.numbers.front(), 1.0);
  ASSERT_NE(reference.numbers[0], reference.numbers[4]);
  ASSERT_FALSE(reference.checkpoint.empty());
  expect_same(train_whole(options, world()), reference);
  use_threads(2);
  expect_same(train_whole(options, world()), reference);
}

TEST_F(TrainerBits, AreTheSameCutAndResumedOnAnotherNumberOfRanks) {
  const TrainOptions options = small_run("");
  const Outcome reference = train_whole(options, alone_);
  expect_same(train_cut(options, world(), alone_), reference);
  expect_same(train_cut(options, alone_, world()), reference);
}

TEST_F(TrainerBits, AreTheSameWhereverExpertsAre) {
  TrainOptions options = small_run("");
  options.steps = 8;
  const Outcome reference = train_whole(options, alone_);
  for (const Index seed : {1, 2, 3}) {
    SCOPED_TRACE(fmt::format("placement {}", seed));
    const std::vector<ExpertMap> placement = some_placement(options, world().size(), seed);
    for (const auto& [exchange, waves] : {std::pair("flat", Index{1}), std::pair("shared", Index{1}),
                                          std::pair("hierarchical", Index{2}), std::pair("flat", Index{3})}) {
      options.transport.exchange = exchange;
      options.transport.waves = waves;
      expect_same(train_whole(options, world(), placement), reference);
    }
    expect_same(train_cut(options, world(), world(), placement), reference);
  }
}

// One expert gets all tokens, two share them, two get none; two passes add their gradients up.
TEST_F(TrainerBits, AreTheSameWithReplicasOfExperts) {
  TrainOptions options = small_run("");
  options.model.context = 32;
  options.model.router = {};
  options.model.router.experts = 5;
  options.model.router.capacity_factor = 0.0;
  options.model.router.router = "rule";
  options.model.router.rules = "domain 0 -> 0,1; default -> 0,2";
  options.sequences = 160;
  options.groups = 10;
  options.passes = 2;
  options.steps = 4;
  options.eval_sequences = 30;
  const Outcome reference = train_whole(options, alone_);
  const auto load = std::span(reference.numbers).subspan(7, 5);  // of the first step's first layer, over both passes
  ASSERT_GT(experts::RowCut(static_cast<Index>(load[0]) / 2).num_segments(), 2);
  ASSERT_GT(load[1], 0.0);
  ASSERT_EQ(load[4], 0.0);
  for (const Index seed : {1, 2, 3}) {
    SCOPED_TRACE(fmt::format("replicas {}", seed));
    const std::vector<ExpertMap> placement = some_replicas(options, world().size(), seed);
    options.transport.exchange = seed == 1 ? "flat" : seed == 2 ? "shared" : "hierarchical";
    options.transport.waves = seed;
    expect_same(train_whole(options, world(), placement), reference);
    if (seed == 2) expect_same(train_cut(options, alone_, world(), placement), reference);
  }
}

// Its checkpoint is that of any run: written with replicas, read without any on one rank.
TEST_F(TrainerBits, AreTheSameWhereARunWithReplicasIsResumedElsewhere) {
  TrainOptions options = small_run("");
  options.steps = 6;
  const Outcome reference = train_whole(options, alone_);
  const TemporaryFolder mine;
  options.out = shared_folder(world(), mine.path()).string();
  const auto dataset = make_samples(options);
  const std::vector<ExpertMap> placement = some_replicas(options, world().size(), 5);
  std::filesystem::path file;
  {
    Trainer trainer(options, *dataset, world(), placement);
    for (Index i = 0; i < 3; ++i) trainer.step();
    file = trainer.save({}, {});
  }
  world().barrier();
  const TemporaryFolder own;
  options.out = own.path();
  Trainer trainer(options, *dataset, alone_);
  trainer.restore(file, read_header(alone_, file));
  Outcome rest;
  for (Index i = 3; i < options.steps; ++i) add(trainer.step(), rest);
  finish(trainer, alone_, rest);
  const auto skipped = reference.numbers.size() - rest.numbers.size();
  expect_same(rest, {{reference.numbers.begin() + static_cast<std::ptrdiff_t>(skipped), reference.numbers.end()},
                     reference.checkpoint});
  world().barrier();
}

TEST_F(TrainerBits, AreTheSameWithPassesSgdAndMixedBlocks) {
  TrainOptions options = small_run("");
  options.groups = 10;
  options.passes = 2;
  options.steps = 6;
  options.model.moe_every = 2;
  options.model.tied_head = true;
  options.optimizer.optimizer = "sgd";
  const Outcome reference = train_whole(options, alone_);
  expect_same(train_whole(options, world()), reference);
  expect_same(train_cut(options, world(), alone_), reference);
}

TEST_F(TrainerBits, AreTheSameWhereExpertsShareABase) {
  TrainOptions options = small_run("");
  options.model.experts.expert_kind = {"swiglu"};
  options.model.experts.expert_hidden = {44};
  options.model.experts.expert_bias = true;
  options.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  options.model.experts.expert_rank = 3;
  options.groups = 10;
  options.passes = 2;
  options.steps = 6;
  const Outcome reference = train_whole(options, alone_);
  expect_same(train_whole(options, world()), reference);
  expect_same(train_cut(options, world(), alone_), reference);
  expect_same(train_cut(options, alone_, world()), reference);
}

// Large enough that the dense gradients' sums travel in several runs, most of them during backward.
TEST_F(TrainerBits, AreTheSameWhereSumsTravelDuringBackward) {
  TrainOptions options = small_run("");
  options.model.layers = 3;
  options.model.width = 256;
  options.model.moe_every = 2;
  options.groups = 10;
  options.passes = 2;
  options.steps = 2;
  {
    options.out = TemporaryFolder().path();
    const auto dataset = make_samples(options);
    Trainer trainer(options, *dataset, alone_);
    ASSERT_GE(cut_into_runs(trainer.model().replicated()).size(), 3U);
  }
  const Outcome reference = train_whole(options, alone_);
  expect_same(train_whole(options, world()), reference);
  expect_same(train_cut(options, world(), alone_), reference);
  expect_same(train_cut(options, alone_, world()), reference);
}

// Cut between two steps in which the gate moves.
TEST_F(TrainerBits, AreTheSameWithFrozenPartsAndARestingGate) {
  TrainOptions options = small_run("");
  options.optimizer.freeze = {"experts"};
  options.optimizer.gate_every = 3;
  options.steps = 8;
  const Outcome reference = train_whole(options, alone_);
  expect_same(train_whole(options, world()), reference);
  expect_same(train_cut(options, world(), alone_), reference);
  options.optimizer.freeze = {"dense"};
  EXPECT_NE(train_whole(options, alone_), reference);
}

TEST_F(TrainerBits, OfAStepBalancedLossAndADenseModel) {
  TrainOptions options = small_run("");
  options.steps = 4;
  options.model.router.balance_scope = gating::BalanceScope::step;
  expect_same(train_whole(options, world()), train_whole(options, alone_));
  options.model.moe_every = 0;
  expect_same(train_whole(options, world()), train_whole(options, alone_));
}

// The ledger and what layers agree on are among the numbers.
TEST_F(TrainerBits, OfEveryKindOfRouting) {
  TrainOptions options = small_run("");
  options.steps = 3;
  options.drop_ledger = true;
  gating::RouterOptions& router = options.model.router;
  router = {};
  router.experts = 5;
  router.capacity_factor = 0.8;
  router.min_capacity = 0;
  const gating::RouterOptions plain = router;
  const std::vector<std::function<void()>> variants = {
      [&] { router.router = "expert_choice", router.gate = gating::GateKind::mlp; },
      [&] { router.router = "hash", options.model.fusion = model::Fusion::max; },
      [&] { router.router = "bernoulli", router.capacity_scope = gating::CapacityScope::step; },
      [&] { router.router = "rule", router.rules = "domain 0 -> 3,1; default -> 0,2"; },
      [&] { router.selection = gating::Selection::sinkhorn, router.priority = gating::Priority::random; },
      [&] {
        router.gate = gating::GateKind::cosine, router.priority = gating::Priority::best_token;
        router.capacity_scope = gating::CapacityScope::step, options.model.fusion = model::Fusion::mean;
      }};
  for (std::size_t v = 0; v < variants.size(); ++v) {
    SCOPED_TRACE(fmt::format("variant {}", v));
    router = plain;
    options.model.fusion = model::Fusion::weighted;
    variants[v]();
    ASSERT_NO_THROW(model::validate(options.model));
    const Outcome reference = train_whole(options, alone_);
    ASSERT_GT(reference.numbers.size(), 120U) << "the ledger has entries";
    expect_same(train_whole(options, world()), reference);
  }
}

// A hash knows no layer: what it says in one, it says in the next. A draw for each layer says nothing.
TEST_F(TrainerBits, LayersAgreeFullyByHashAndHardlyByChance) {
  TrainOptions options = small_run("");
  options.model.router = {};
  options.model.router.experts = 5;
  options.model.router.capacity_factor = options.model.router.eval_capacity_factor = 0.0;
  options.eval_sequences = 100;
  const auto agreement = [&](const std::string& name) {
    options.model.router.router = name;
    const TemporaryFolder folder;
    options.out = folder.path();
    const auto dataset = make_samples(options);
    Trainer trainer(options, *dataset, world());
    const std::vector<double> of_pairs = trainer.evaluate().layer_agreement;
    EXPECT_EQ(of_pairs.size(), 1U);
    return of_pairs.at(0);
  };
  EXPECT_NEAR(agreement("hash"), 1.0, 1e-12);
  EXPECT_LT(agreement("random"), 0.05);
}

TEST_F(TrainerBits, OfAClassifierOfTexts) {
  const TemporaryFolder folder("_data");
  std::string lines;
  for (Index i = 0; i < 60; ++i) lines += fmt::format("{}\t{}\n", i % 3 == 0 ? "x" : "y", random_text(5 + i % 20, i));
  folder.write("texts.tsv", lines);
  TrainOptions options = small_run("");
  options.task = Task::classify;
  options.data.data = folder.path("texts.tsv");
  options.steps = 6;
  for (const model::Fusion fusion : {model::Fusion::weighted, model::Fusion::vote}) {
    options.model.fusion = fusion;
    const Outcome reference = train_whole(options, alone_);
    ASSERT_GT(reference.numbers.front(), 0.1);
    ASSERT_EQ(reference.numbers[reference.numbers.size() - 4] + reference.numbers[reference.numbers.size() - 3] +
                  reference.numbers[reference.numbers.size() - 2] + reference.numbers.back(),
              6.0)
        << "a tenth of the texts is held out";
    expect_same(train_whole(options, world()), reference);
    expect_same(train_cut(options, world(), alone_), reference);
  }
}

TEST_F(TrainerBits, OfPairs) {
  const TemporaryFolder folder("_data");
  std::string lines;
  for (Index i = 0; i < 60; ++i) lines += random_text(1 + i % 5, i) + '\t' + random_text(1 + i % 4, 100 + i) + '\n';
  folder.write("pairs.tsv", lines);
  TrainOptions options = small_run("");
  options.data.data = folder.path("pairs.tsv");
  options.data.data_format = DataFormat::pairs;
  options.groups = 10;
  options.passes = 2;
  options.steps = 6;
  const Outcome reference = train_whole(options, alone_);
  // Of random values, over the targets alone: over all tokens it would be a third of that.
  ASSERT_NEAR(reference.numbers.front(), std::log(256.0), 0.5);
  expect_same(train_whole(options, world()), reference);
  expect_same(train_cut(options, world(), alone_), reference);
}

TEST_F(TrainerBits, OfAClassifierOfFeatureVectors) {
  const TemporaryFolder folder("_data");
  write(three_classes(120, 1), folder.path("data.h5"));
  TrainOptions options = small_run("");
  options.task = Task::classify;
  options.model.context = model::ModelOptions{}.context;
  options.model.heads = model::ModelOptions{}.heads;
  options.data.data = folder.path("data.h5");
  options.groups = 10;
  options.passes = 2;
  options.steps = 6;
  for (const model::Fusion fusion : {model::Fusion::weighted, model::Fusion::vote}) {
    options.model.fusion = fusion;
    const Outcome reference = train_whole(options, alone_);
    expect_same(train_whole(options, world()), reference);
    expect_same(train_cut(options, alone_, world()), reference);
    options.model.residual = false;
  }
}

TEST_F(TrainerBits, PassesEqualOneBigPassToRounding) {
  TrainOptions options = small_run("");
  options.groups = 10;
  options.steps = 5;
  const Outcome one = train_whole(options, world());
  options.passes = 5;
  const Outcome five = train_whole(options, world());
  ASSERT_EQ(one.numbers.size(), five.numbers.size());
  for (std::size_t i = 0; i < one.numbers.size(); ++i) {
    EXPECT_NEAR(one.numbers[i], five.numbers[i], 1e-4 * std::max(1.0, std::abs(one.numbers[i]))) << i;
  }
}

TEST_F(TrainerBits, DependOnTheSeed) {
  TrainOptions options = small_run("");
  options.steps = 2;
  const Outcome one = train_whole(options, world());
  options.seed = 2;
  EXPECT_NE(train_whole(options, world()), one);
}

TEST(Trainer, TellsCommunicationInTotalBesideExposed) {
  const TemporaryFolder mine;
  const TrainOptions options = small_run(shared_folder(world(), mine.path()));
  const auto dataset = make_samples(options);
  Trainer trainer(options, *dataset, world());
  const StepRecord record = trainer.step();
  const PhaseSpread& exposed = record.phases[static_cast<std::size_t>(Phase::wait)];
  EXPECT_GT(exposed.min_s, 0.0);
  EXPECT_LE(record.communication.max_s, record.communication.mean_s * static_cast<double>(world().size()));
  EXPECT_LE(record.communication.min_s, record.communication.mean_s);
  if (world().size() == 1) {
    EXPECT_EQ(record.communication.mean_s, exposed.mean_s) << "nothing travels, nothing is hidden";
  } else {
    EXPECT_GT(record.communication.mean_s, exposed.mean_s);
    EXPECT_GT(record.communication.min_s, exposed.min_s);
  }
  world().barrier();
}

// What one rank asks at a step's end all learn in its record, and it changes nothing else.
TEST(Trainer, TellsAllRanksWhatOneAsks) {
  const TemporaryFolder mine;
  const TrainOptions options = small_run(shared_folder(world(), mine.path()));
  const auto dataset = make_samples(options);
  Trainer trainer(options, *dataset, world());
  Trainer unasked(options, *dataset, world());
  const RankId last{world().size() - 1};
  for (const RankId lowest : {last, RankId{world().size() / 2}, RankId{0}}) {
    Index times_asked = 0;
    const StepRecord record = trainer.step([&] {
      ++times_asked;
      return world().rank() < lowest ? Index{0} : 7 + world().rank().value();
    });
    EXPECT_EQ(times_asked, 1);
    EXPECT_EQ(record.request.what, 7 + lowest.value());
    EXPECT_EQ(record.request.rank, lowest);
    const StepRecord plain = unasked.step();
    EXPECT_EQ(plain.request.what, 0);
    EXPECT_EQ(plain.loss, record.loss);
  }
}

TEST(Trainer, RefusesACheckpointOfAnotherRun) {
  const TemporaryFolder mine;
  TrainOptions options = small_run(shared_folder(world(), mine.path()));
  const auto dataset = make_samples(options);
  Trainer trainer(options, *dataset, world());
  trainer.step();
  const auto file = trainer.save({}, {});
  world().barrier();
  const auto refusal = [&](const TrainOptions& other, const DataOptions& data) {
    try {
      const auto other_data = make_dataset(data, other.model.context, other.seed);
      Trainer wrong(other, *other_data, world());
      wrong.restore(file, read_header(world(), file));
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal(options, options.data), "accepted");
  TrainOptions other = options;
  other.model.router.experts = 6;
  EXPECT_NE(refusal(other, other.data).find("expert/0005"), std::string::npos) << refusal(other, other.data);
  other = options;
  other.sequences = 20;
  EXPECT_NE(refusal(other, other.data).find("sequences_seen"), std::string::npos);
  DataOptions data = options.data;
  data.corpus.domains = 3;
  EXPECT_NE(refusal(options, data).find("other data"), std::string::npos);
  world().barrier();
}

}  // namespace
}  // namespace conclave::train
