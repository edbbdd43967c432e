// SPDX-License-Identifier: BSD-3-Clause
// What is written is read again, whoever held it; checkpoints come and go as promised.
#include "tests/train/checkpoint_fixture.hpp"

#include <cmath>
#include <limits>
#include <numeric>

namespace conclave::train {
namespace {

using namespace testing_support;

class CheckpointContent : public CheckpointTest {};
class CheckpointFolder : public CheckpointTest {};

TEST_F(CheckpointContent, AnyPartIsReadWhoeverWroteIt) {
  const fs::path file = write(1000);
  EXPECT_EQ(file.filename(), "step-00001000.h5");
  for (const Index salt : {0, 7, 31}) {
    Parts parts = uneven_parts(world_, some_tensors(), salt);
    read_tensors(world_, file, parts.parts);
    parts.expect_filled();
  }
}

TEST_F(CheckpointContent, EveryRankMayReadEverythingOrNothing) {
  const fs::path file = write(1);
  Parts whole;
  Parts only_last;
  Parts overlapping;  // the middle half, on all ranks
  for (const Described& tensor : some_tensors()) {
    const Index size = num_elements(tensor.shape);
    whole.add(tensor, {0, size});
    only_last.add(tensor, {0, world_.rank().value() == world_.size() - 1 ? size : 0});
    overlapping.add(tensor, {size / 4, size - size / 4});
  }
  for (Parts* parts : {&whole, &only_last, &overlapping}) {
    read_tensors(world_, file, parts->parts);
    parts->expect_filled();
  }
}

TEST_F(CheckpointContent, SomeTopLevelGroupsMayBeReadAlone) {
  const fs::path file = write(1);
  std::vector<Described> tensors = some_tensors();
  tensors.pop_back();  // the only one of /optimizer
  Parts parts = uneven_parts(world_, tensors, 3);
  read_tensors(world_, file, parts.parts);
  parts.expect_filled();
}

TEST_F(CheckpointContent, StandsInTheFileAsPlainDatasets) {
  const fs::path file = write(12);
  if (!world_.is_root()) return;
  const Hdf5File in = Hdf5File::open(file);
  const std::vector<Described> tensors = some_tensors();
  Index num_compared = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    EXPECT_EQ(in.shape(tensors[t].name), tensors[t].shape);
    EXPECT_EQ(in.type(tensors[t].name), Hdf5Type::float32);
    const std::vector<float> values = in.read<float>(tensors[t].name);
    for (Index i = 0; i < std::ssize(values); ++i, ++num_compared) {
      ASSERT_EQ(values[static_cast<std::size_t>(i)], element(t, i)) << tensors[t].name << " " << i;
    }
  }
  EXPECT_EQ(num_compared, 2 * 185 + 2 * 60 + 17 + 1);
  EXPECT_EQ(in.attribute<std::string>("/", "format"), "conclave-checkpoint");
  EXPECT_EQ(in.attribute<std::int64_t>("/", "version"), 1);
  EXPECT_EQ(in.attribute<std::int64_t>("/", "complete"), 1);
  EXPECT_EQ(in.attribute<std::string>("/config", "model_width"), "64");
  EXPECT_EQ(in.attribute<std::int64_t>("/state", "step"), 12);
  EXPECT_EQ(in.attribute<double>("/state", "best_loss"), 0.1);
  EXPECT_EQ(in.attribute<std::string>("/record", "cpu"), "any");
  EXPECT_EQ(in.read<double>("/tables/loss"), (std::vector<double>{1, 2, 3, 4, 5, 0.1}));
}

TEST_F(CheckpointContent, BytesDoNotDependOnTheNumberOfRanks) {
  const fs::path by_all = write(5);
  const comm::Communicator alone = world_.split(world_.is_root() ? 0 : -1);
  if (!world_.is_root()) return;
  const Parts parts = filled_parts(alone);
  const fs::path by_one = write_checkpoint(alone, folder_ / "alone", 5, {1}, some_header(5), parts.parts);
  const std::string bytes = content_of(by_all);
  EXPECT_GT(bytes.size(), 2000U);
  EXPECT_EQ(bytes, content_of(by_one));
}

TEST_F(CheckpointContent, HeadersKeepEveryBit) {
  CheckpointHeader header = some_header(3);
  for (int i = 0; i < 40; ++i)
    header.config[fmt::format("option_{}", i)] = std::string(static_cast<std::size_t>(i), 'x');
  header.config["long"] = std::string(100'000, 'y');
  header.config["with/slash and space"] = "λ";
  header.numbers["nan"] = std::nan("7");
  header.numbers["minus_zero"] = -0.0;
  header.integers["lowest"] = std::numeric_limits<std::int64_t>::min();
  header.tables["none"] = {0, 3, {}};
  header.tables["deep/er"] = {1, 2, {std::numeric_limits<double>::infinity(), std::nan("")}};
  const Parts parts = filled_parts(world_);
  const fs::path file = write_checkpoint(world_, folder_, 3, {1}, header, parts.parts);
  EXPECT_EQ(pack(read_header(world_, file)), pack(header));
  EXPECT_EQ(read_header(world_, file).tables.at("deep/er").cols, 2);
}

TEST_F(CheckpointContent, AnEmptyCheckpointIsOne) {
  const fs::path file = write_checkpoint(world_, folder_, 0, {1}, {}, {});
  EXPECT_EQ(pack(read_header(world_, file)), pack(CheckpointHeader{}));
  read_tensors(world_, file, {});
}

TEST_F(CheckpointContent, PartsThatDoNotMakeUpTheTensorAreADefect) {
  const Index rank = world_.rank().value();
  const auto attempt = [&](const std::string& name, Index size, Range held) {
    std::vector<float> values(100);
    const std::vector<TensorPart> parts{{name, {size}, held, values.data()}};
    EXPECT_THROW(write_checkpoint(world_, folder_, 1, {1}, {}, parts), InvariantError) << name;
  };
  attempt("/x/gap", 12, {0, rank == 0 ? 11 : 0});
  if (world_.size() > 1) {
    attempt("/x/twice", 12, rank == 0 ? Range{0, 12} : Range{3, 5});
    // The right number of elements: some twice, others never.
    attempt("/x/overlap", 12, rank == 0 ? Range{0, 8} : (rank == 1 ? Range{4, 8} : Range{}));
    attempt(rank == 1 ? "/x/one" : "/x/another", 0, {});
    attempt("/x/outside", 12, rank == 1 ? Range{5, 13} : Range{});
  }
  attempt("/config/x", 0, {});
  attempt("x", 0, {});
  EXPECT_EQ(listing(), "");
}

TEST_F(CheckpointFolder, KeepsTheNewest) {
  for (const Index step : {10, 20, 30}) write(step, {2});
  EXPECT_EQ(listing(), "step-00000020.h5 step-00000030.h5 ");
  // The one just written stays, even if a run that was taken up again at an earlier step wrote it.
  write(5, {2});
  EXPECT_EQ(listing(), "step-00000005.h5 step-00000030.h5 ");
  write(5, {1});
  EXPECT_EQ(listing(), "step-00000005.h5 ");
  expect_readable(folder_ / "step-00000005.h5");
}

TEST_F(CheckpointFolder, KeepsMultiplesForGood) {
  for (const Index step : {10, 15, 20, 25, 30, 35, 41}) write(step, {.last = 2, .every = 20});
  EXPECT_EQ(listing(), "step-00000020.h5 step-00000035.h5 step-00000041.h5 ");
}

TEST_F(CheckpointFolder, LatestLeadsToTheOneFinishedLast) {
  for (const Index step : {10, 30, 20}) write(step);
  const fs::path link = folder_ / "latest";
  if (world_.is_root()) {
    EXPECT_EQ(fs::read_symlink(link), "step-00000020.h5");
    EXPECT_EQ(fs::canonical(link).filename(), "step-00000020.h5");
  }
  EXPECT_EQ(newest_checkpoint(world_, folder_).file.filename(), "step-00000020.h5");
  // Where it leads nowhere, and where it leads to what is none of the program's own, the names tell.
  for (const char* target : {"step-00000040.h5", "../step-00000010.h5", "notes.txt"}) {
    world_.barrier();
    if (world_.is_root()) {
      fs::remove(link);
      fs::create_symlink(target, link);
    }
    world_.barrier();
    EXPECT_EQ(newest_checkpoint(world_, folder_).file.filename(), "step-00000030.h5") << target;
  }
  write(50);
  EXPECT_EQ(newest_checkpoint(world_, folder_).file.filename(), "step-00000050.h5");
}

/// Gives one element another value.
void damage_a_tensor(const fs::path& file) {
  change_and_seal(file, [&] {
    Hdf5File out = Hdf5File::open_writable(file);
    const float value = -element(0, 0);
    out.write_range<float>("/params/embedding", {0, 1}, &value);
    out.close();
  });
}

TEST_F(CheckpointFolder, ADamagedOneIsPassedOver) {
  const fs::path good = write(10);
  const fs::path bad = write(20);
  EXPECT_EQ(verify_checkpoint(world_, bad).tensors, std::ssize(some_tensors()));
  EXPECT_EQ(verify_checkpoint(world_, bad).elements, 2 * 185 + 2 * 60 + 17 + 1);
  if (world_.is_root()) damage_a_tensor(bad);
  world_.barrier();
  const Failure failure = failure_everywhere([&] { (void)verify_checkpoint(world_, bad); });
  EXPECT_NE(failure.message.find("1 of its tensors do not match their checksums:\n  /params/embedding"),
            std::string::npos)
      << failure.message;
  const FoundCheckpoint found = newest_checkpoint(world_, folder_);
  EXPECT_EQ(found.file, good);
  ASSERT_EQ(found.passed_over.size(), 1U);
  EXPECT_EQ(found.passed_over[0], failure.message);
}

TEST_F(CheckpointContent, WhatTheDiskHasOtherwiseIsNoticed) {
  const Parts parts = filled_parts(world_);
  CheckpointDraft draft(world_, folder_, 1, some_header(1), parts.parts);
  on_root(world_, [&] { draft.create(); });
  draft.share_places();
  const std::vector<PlacedValues> runs = draft.placed(parts.parts);
  {
    const DiskFile file(draft.partial(), DiskFile::Access::read_write);
    write_values(file, runs);
    file.sync();
    read_back(file, runs);
    for (const PlacedValues& run : runs) {
      const float wrong = std::nextafter(run.values.back(), 100.0F);
      file.write_at(run.offset_bytes + std::ssize(run.values) * 4 - 4, std::as_bytes(std::span(&wrong, 1)));
      const Failure failure = failure_of([&] { read_back(file, runs); });
      EXPECT_NE(failure.message.find("1 of the tensors written"), std::string::npos) << failure.message;
      EXPECT_NE(failure.message.find(run.name), std::string::npos) << failure.message;
      file.write_at(run.offset_bytes, std::as_bytes(run.values));
    }
    read_back(file, runs);
  }
  // Checksums that are not those of the values are noticed by whoever reads them.
  std::vector<std::uint64_t> sums = checksums_of_whole(world_, checksums_here(parts.parts));
  sums[3] += 1;
  on_root(world_, [&] {
    draft.mark_complete(sums);
    draft.put_in_place({});
  });
  failure_everywhere([&] { (void)verify_checkpoint(world_, draft.file()); });
}

void flip_a_bit(const fs::path& path, Index offset_bytes) {
  const DiskFile file(path, DiskFile::Access::read_write);
  std::byte value{};
  file.read_at(offset_bytes, std::span(&value, 1));
  value ^= std::byte{1};
  file.write_at(offset_bytes, std::span(&value, 1));
}

TEST_F(CheckpointContent, AStructureThatTheDiskHasOtherwiseIsNotPutInPlace) {
  const Parts parts = filled_parts(world_);
  CheckpointDraft draft(world_, folder_, 1, some_header(1), parts.parts);
  on_root(world_, [&] {
    draft.create();
    draft.mark_complete(std::vector<std::uint64_t>(parts.parts.size()));
    flip_a_bit(draft.partial(), 100);  // of the structure, which begins the file
    EXPECT_NE(failure_of([&] { draft.put_in_place({}); }).message, "");
    EXPECT_FALSE(fs::exists(draft.file()));
    flip_a_bit(draft.partial(), 100);
    draft.put_in_place({});
    EXPECT_TRUE(fs::exists(draft.file()));
  });
}

TEST_F(CheckpointFolder, LeftoversOfACrashAreRemoved) {
  write(1);
  if (world_.is_root()) {
    overwrite(folder_ / ".step-00000002.h5.partial", "half");
    overwrite(folder_ / ".step-00000003.h5.partial", "half");
    overwrite(folder_ / "notes.txt", "mine");
    overwrite(folder_ / ".mine.partial", "mine");
  }
  EXPECT_EQ(newest_checkpoint(world_, folder_).file.filename(), "step-00000001.h5");
  const fs::path file = write(2);
  EXPECT_EQ(listing(), ".mine.partial notes.txt step-00000001.h5 step-00000002.h5 ");
  expect_readable(file);
}

TEST_F(CheckpointFolder, TheNewestCompleteOneIsFound) {
  EXPECT_EQ(newest_checkpoint(world_, folder_).file, "");
  EXPECT_EQ(newest_checkpoint(world_, folder_ / "not-there").file, "");
  write(900);
  const fs::path newest = write(100'000'000);  // more digits than the name's width
  const fs::path damaged = write(200'000'000);
  if (world_.is_root()) {
    fs::resize_file(damaged, fs::file_size(damaged) / 2);
    overwrite(folder_ / "step-x.h5", "no checkpoint");
    overwrite(folder_ / "step-300000000.h5.old", "no checkpoint");
  }
  world_.barrier();
  const FoundCheckpoint found = newest_checkpoint(world_, folder_);
  EXPECT_EQ(found.file, newest);
  ASSERT_EQ(found.passed_over.size(), 1U);
  EXPECT_NE(found.passed_over[0].find("step-200000000.h5"), std::string::npos) << found.passed_over[0];
  EXPECT_EQ(newest_checkpoint(world_, folder_ / "step-00000900.h5").file.filename(), "step-00000900.h5");
  const Failure failure = failure_everywhere([&] { (void)newest_checkpoint(world_, damaged); });
  EXPECT_EQ(failure.hint, "use an earlier checkpoint: step-100000000.h5 exists");
}

TEST(TensorChecksum, IsTheSumOverAnyCut) {
  std::vector<float> values(1000);
  for (Index i = 0; i < 1000; ++i) values[static_cast<std::size_t>(i)] = element(0, i);
  const std::uint64_t whole = tensor_checksum(values, 0);
  for (std::size_t cut = 0; cut <= values.size(); ++cut) {
    const std::span<const float> all(values);
    ASSERT_EQ(tensor_checksum(all.first(cut), 0) + tensor_checksum(all.subspan(cut), static_cast<Index>(cut)), whole);
  }
}

TEST(TensorChecksum, SeesFlipsSwapsShiftsAndZeros) {
  std::vector<float> values(64);
  for (Index i = 0; i < 64; ++i) values[static_cast<std::size_t>(i)] = element(0, i);
  const std::uint64_t whole = tensor_checksum(values, 0);
  for (float& value : values) {
    for (int bit = 0; bit < 32; ++bit) {
      const float kept = value;
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) ^ (1U << bit));
      ASSERT_NE(tensor_checksum(values, 0), whole);
      value = kept;
    }
  }
  std::swap(values[3], values[40]);
  EXPECT_NE(tensor_checksum(values, 0), whole);
  std::swap(values[3], values[40]);
  EXPECT_NE(tensor_checksum(values, 1), whole);
  EXPECT_EQ(tensor_checksum(values, 0), whole);
  const std::vector<float> zeros(64);
  EXPECT_NE(tensor_checksum(zeros, 0), tensor_checksum(std::span(zeros).first(63), 0));
  EXPECT_EQ(tensor_checksum({}, 5), 0U);
}

}  // namespace
}  // namespace conclave::train
