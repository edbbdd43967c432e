// SPDX-License-Identifier: BSD-3-Clause
// What cannot be written or read is refused on every rank, in words that help, and never waited for.
#include "tests/train/checkpoint_fixture.hpp"
#include "tests/train/file_size_limit.hpp"

#include <sys/mount.h>

#include <functional>

namespace conclave::train {
namespace {

using namespace testing_support;

class CheckpointRefusal : public CheckpointTest {
 protected:
  /// A checkpoint of step 900, and one of step 1000 that `damage` (root alone) has worked on.
  fs::path damaged(const std::function<void(const fs::path&)>& damage) {
    write(900);
    const fs::path file = write(1000);
    if (world_.is_root()) damage(file);
    world_.barrier();
    return file;
  }
  Failure refused_tensors(const fs::path& file) {
    Parts parts = uneven_parts(world_, some_tensors(), 9);
    return failure_everywhere([&] { read_tensors(world_, file, parts.parts); });
  }
  Failure refused_header(const fs::path& file) {
    return failure_everywhere([&] { (void)read_header(world_, file); });
  }
  /// Both ways of reading refuse `file` with these words, and name the earlier checkpoint.
  void expect_refused(const fs::path& file, const std::string& words) {
    for (const Failure& failure : {refused_header(file), refused_tensors(file)}) {
      EXPECT_NE(failure.message.find(words), std::string::npos) << failure.message;
      EXPECT_NE(failure.message.find(file.filename().string()), std::string::npos) << failure.message;
      EXPECT_EQ(failure.hint, "use an earlier checkpoint: step-00000900.h5 exists");
    }
    expect_readable(folder_ / "step-00000900.h5");
  }
};

TEST_F(CheckpointRefusal, Truncated) {
  expect_refused(damaged([](const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 100); }), "truncated");
}

TEST_F(CheckpointRefusal, Lengthened) {
  expect_refused(damaged([](const fs::path& file) { overwrite(file, content_of(file) + '\0'); }),
                 "does not end with its seal");
}

TEST_F(CheckpointRefusal, DamagedStructureBeforeHdf5LooksAtIt) {
  // The file's very beginning: HDF5 would find no superblock, and say so in other words.
  expect_refused(damaged([](const fs::path& file) {
                   std::string bytes = content_of(file);
                   bytes[0] ^= 1;
                   overwrite(file, bytes);
                 }),
                 "what stands in it beside its tensors does not match its checksum");
}

TEST_F(CheckpointRefusal, NotHdf5) {
  expect_refused(damaged([](const fs::path& file) { overwrite(file, "some text"); }), "does not end with its seal");
}

TEST_F(CheckpointRefusal, NotThere) {
  expect_refused(damaged([](const fs::path& file) { fs::remove(file); }), "there is no file");
}

/// Replaces `file` by an HDF5 file with the given root attributes, "complete" unless it is negative.
void forge(const fs::path& file, const std::string& format, std::int64_t version, std::int64_t complete = -1) {
  fs::remove(file);
  Hdf5File out = Hdf5File::create(file);
  if (!format.empty()) out.write_attribute("/", "format", format);
  out.write_attribute("/", "version", version);
  if (complete >= 0) out.write_attribute("/", "complete", complete);
  out.close();
  seal(file, {});
}

TEST_F(CheckpointRefusal, Incomplete) {
  for (const std::int64_t complete : {-1, 0}) {
    expect_refused(damaged([&](const fs::path& file) { forge(file, "conclave-checkpoint", 1, complete); }),
                   "incomplete");
  }
}

TEST_F(CheckpointRefusal, ForeignOrOfAnotherVersion) {
  const fs::path file = damaged([](const fs::path& path) { forge(path, "", 1); });
  EXPECT_NE(refused_header(file).message.find("not a Conclave checkpoint"), std::string::npos);
  if (world_.is_root()) forge(file, "moe-layer-case", 1);
  world_.barrier();
  EXPECT_NE(refused_tensors(file).message.find("not a Conclave checkpoint"), std::string::npos);
  if (world_.is_root()) forge(file, "conclave-checkpoint", 2);
  world_.barrier();
  const Failure failure = refused_header(file);
  EXPECT_NE(failure.message.find("version 2; this program reads version 1"), std::string::npos) << failure.message;
  EXPECT_NE(failure.hint.find("the version of Conclave that wrote it"), std::string::npos) << failure.hint;
}

/// Flips one bit of `file`, in the bytes of `value` as they stand in it.
template <class T>
void flip(const fs::path& file, const T& value, int bit) {
  std::string bytes = content_of(file);
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&value), sizeof(T)));
  ASSERT_NE(at, std::string::npos);
  bytes[at + static_cast<std::size_t>(bit / 8)] ^= static_cast<char>(1 << (bit % 8));
  overwrite(file, bytes);
}

TEST_F(CheckpointRefusal, AFlippedBitOfATensor) {
  for (const int bit : {0, 22, 31}) {
    const fs::path file = damaged([&](const fs::path& path) { flip(path, element(1, 59), bit); });
    (void)read_header(world_, file);
    const Failure failure = refused_tensors(file);
    EXPECT_NE(failure.message.find("/params/block/0/moe/expert/0000/w1"), std::string::npos) << failure.message;
    EXPECT_NE(failure.message.find("1 of its tensors"), std::string::npos) << failure.message;
    EXPECT_EQ(failure.hint, "use an earlier checkpoint: step-00000900.h5 exists");
    // Whoever asks for what: the damage is noticed.
    Parts nothing;
    for (const Described& tensor : some_tensors()) nothing.add(tensor, {});
    failure_everywhere([&] { read_tensors(world_, file, nothing.parts); });
  }
}

TEST_F(CheckpointRefusal, AFlippedBitOfTheHeader) {
  const fs::path file = damaged([&](const fs::path& path) {
    flip(path, std::array<char, 8>{'G', 'C', 'C', ' ', '1', '2', '.', '2'}, 33);
  });
  const Failure failure = refused_header(file);
  EXPECT_NE(failure.message.find("checksum"), std::string::npos) << failure.message;
  EXPECT_EQ(failure.hint, "use an earlier checkpoint: step-00000900.h5 exists");
  const fs::path table = damaged([&](const fs::path& path) {
    change_and_seal(path, [&] { flip(path, std::array<double, 2>{4.0, 5.0}, 70); });
  });
  EXPECT_NE(refused_header(table).message.find("/tables does not match its checksum"), std::string::npos);
}

TEST_F(CheckpointRefusal, NoFlippedBitCrashesOrGivesWrongValues) {
  const comm::Communicator alone = world_.split(world_.is_root() ? 0 : -1);
  if (!world_.is_root()) return;
  const Parts written = filled_parts(alone);
  const fs::path file = write_checkpoint(alone, folder_, 1, {1}, some_header(1), written.parts);
  const std::string good = content_of(file);
  const std::string header = pack(some_header(1));
  Index num_refused = 0;
  for (std::size_t at = 0; at < good.size(); at += 11) {
    std::string bad = good;
    bad[at] ^= static_cast<char>(1 << (at % 8));
    overwrite(file, bad);
    const Failure in_header = failure_of([&] { EXPECT_EQ(pack(read_header(alone, file)), header) << at; });
    Parts parts = uneven_parts(alone, some_tensors(), 0);
    const Failure in_tensors = failure_of([&] {
      read_tensors(alone, file, parts.parts);
      parts.expect_filled();
    });
    num_refused += in_header.message.empty() && in_tensors.message.empty() ? 0 : 1;
  }
  EXPECT_GT(num_refused, std::ssize(good) / 11 / 4);
}

TEST_F(CheckpointRefusal, OtherTensors) {
  const fs::path file = write(1);
  std::vector<Described> tensors = some_tensors();
  tensors[0].shape = {5, 37};
  tensors[3].name = "/params/biases";
  Parts parts = uneven_parts(world_, tensors, 2);
  const Failure failure = failure_everywhere([&] { read_tensors(world_, file, parts.parts); });
  for (const char* line : {"\n  /params/embedding: [37, 5], expected [5, 37]", "\n  /params/biases: missing",
                           "\n  /params/bias: unexpected"}) {
    EXPECT_NE(failure.message.find(line), std::string::npos) << failure.message;
  }
  EXPECT_EQ(std::count(failure.message.begin(), failure.message.end(), '\n'), 3);
  EXPECT_NE(failure.hint.find("options it was written with"), std::string::npos);
}

TEST_F(CheckpointRefusal, ManyOtherTensorsAreCounted) {
  const fs::path file = write(1);
  std::vector<Described> tensors = some_tensors();
  for (int i = 0; i < 50; ++i) tensors.push_back({fmt::format("/params/more/{:02}", i), {2}});
  Parts parts = uneven_parts(world_, tensors, 2);
  const Failure failure = failure_everywhere([&] { read_tensors(world_, file, parts.parts); });
  EXPECT_NE(failure.message.find("/params/more/19: missing\n  and 30 more"), std::string::npos) << failure.message;
}

TEST_F(CheckpointRefusal, AnotherType) {
  const fs::path file = write(1);
  if (world_.is_root()) {
    Hdf5File out = Hdf5File::open_writable(file);
    const std::vector<double> values(4);
    out.write<double>("/extra/x", {4}, values);
    const std::vector<float> narrow(4);
    out.write<float>("/extra/y", {4}, narrow);
    out.close();
    seal(file, {});
  }
  world_.barrier();
  Parts parts = uneven_parts(world_, {{"/extra/x", {4}}, {"/extra/y", {4}}}, 2);
  const Failure failure = failure_everywhere([&] { read_tensors(world_, file, parts.parts); });
  EXPECT_NE(failure.message.find("/extra/x: float64, expected float32"), std::string::npos) << failure.message;
  EXPECT_NE(failure.message.find("/extra/y: has no checksum"), std::string::npos) << failure.message;
}

/// One tensor of `size` elements in equal shares.
Parts large_parts(const comm::Communicator& communicator, Index size) {
  Parts parts;
  parts.add({"/params/large", {size}}, even_share(size, communicator.size(), communicator.rank().value()));
  parts.fill();
  return parts;
}

TEST_F(CheckpointRefusal, AWriteThatFailsOnOneRankFailsOnAll) {
  const fs::path earlier = write(1);
  const Parts parts = large_parts(world_, 1 << 20);
  {
    std::optional<FileSizeLimit> limit;
    if (world_.rank().value() == world_.size() - 1) limit.emplace(200'000);
    const Failure failure =
        failure_everywhere([&] { write_checkpoint(world_, folder_, 2, {2}, some_header(2), parts.parts); });
    EXPECT_NE(failure.message.find("cannot write checkpoint"), std::string::npos) << failure.message;
    EXPECT_NE(failure.message.find("step-00000002.h5"), std::string::npos) << failure.message;
    const char* reason = world_.size() == 1 ? "File too large" : "MPI_File_write";
    EXPECT_NE(failure.message.find(reason), std::string::npos) << failure.message;
    EXPECT_NE(failure.message.find("MiB free"), std::string::npos) << failure.message;
  }
  EXPECT_EQ(listing(), "step-00000001.h5 ");
  expect_readable(earlier);
  const fs::path file = write_checkpoint(world_, folder_, 2, {2}, some_header(2), parts.parts);
  Parts again = large_parts(world_, 1 << 20);
  read_tensors(world_, file, again.parts);
  again.expect_filled();
}

/// A file system of 2 MiB in `folder`, where this user may mount one.
class SmallDisk {
 public:
  SmallDisk(const comm::Communicator& world, const fs::path& folder) : world_(world), folder_(folder) {
    std::int64_t mounted = 0;
    if (world.is_root()) mounted = ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=2m") == 0 ? 1 : 0;
    is_mounted_ = world.max(mounted) == 1;
  }
  ~SmallDisk() {
    world_.barrier();
    if (is_mounted_ && world_.is_root()) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  [[nodiscard]] bool is_mounted() const { return is_mounted_; }

 private:
  const comm::Communicator& world_;
  fs::path folder_;
  bool is_mounted_ = false;
};

TEST_F(CheckpointRefusal, AFullDisk) {
  const SmallDisk disk(world_, folder_);
  if (!disk.is_mounted()) GTEST_SKIP() << "this user may not mount a small file system";
  const fs::path earlier = write(1);
  const Parts parts = large_parts(world_, 1 << 20);
  const Failure failure =
      failure_everywhere([&] { write_checkpoint(world_, folder_, 2, {2}, some_header(2), parts.parts); });
  EXPECT_NE(failure.message.find("No space left on device"), std::string::npos) << failure.message;
  EXPECT_NE(failure.hint.find("make room"), std::string::npos) << failure.hint;
  EXPECT_EQ(listing(), "step-00000001.h5 ");
  expect_readable(earlier);
  // Not even room for the beginning.
  if (world_.is_root()) {
    std::ofstream filler(folder_ / "filler", std::ios::binary);
    while (filler.write(std::string(4096, 'x').data(), 4096).flush()) {
    }
  }
  world_.barrier();
  failure_everywhere([&] { write(3); });
  EXPECT_EQ(listing(), "filler step-00000001.h5 ");
  expect_readable(earlier);
  if (world_.is_root()) fs::remove(folder_ / "filler");
  world_.barrier();
  expect_readable(write(4));
}

TEST_F(CheckpointRefusal, AFolderThatCannotBe) {
  if (world_.is_root()) overwrite(folder_ / "file", "not a folder");
  world_.barrier();
  const Parts parts = filled_parts(world_);
  const Failure failure = failure_everywhere(
      [&] { write_checkpoint(world_, folder_ / "file" / "run", 2, {2}, some_header(2), parts.parts); });
  EXPECT_NE(failure.message.find("cannot write checkpoint"), std::string::npos) << failure.message;
}

}  // namespace
}  // namespace conclave::train
