// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/text.hpp"

#include "runtime/core/error.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include <sys/stat.h>
#include <unistd.h>

namespace conclave::train {
namespace {

namespace fs = std::filesystem;

std::string read_text(const TextFiles& files, Range range) {
  std::vector<std::int32_t> tokens(range.size(), -1);
  files.read(range.begin, tokens);
  std::string text;
  for (const std::int32_t token : tokens) text.push_back(static_cast<char>(token));
  return text;
}

std::string all_text(const TextFiles& files) {
  std::string text;
  for (Index file = 0; file < files.num_files(); ++file) text += read_text(files, files.place(file));
  return text;
}

bool mentions(const std::vector<std::string>& notices, const std::string& word) {
  return std::any_of(notices.begin(), notices.end(),
                     [&](const std::string& notice) { return notice.find(word) != std::string::npos; });
}

std::string error_of(const std::string& path) {
  try {
    const TextFiles files(path);
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "no error";
}

TEST(MappedFile, HoldsTheBytesAndMoves) {
  const TemporaryFolder folder;
  const std::string content = random_text(10000, 1);
  folder.write("a", content);
  folder.write("empty", "");
  MappedFile file(folder.path("a"));
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().end(), content.begin(), content.end()));
  MappedFile moved(std::move(file));
  EXPECT_EQ(moved.bytes().size(), content.size());
  MappedFile other(folder.path("empty"));
  EXPECT_TRUE(other.bytes().empty());
  EXPECT_NE(other.identity(), moved.identity());
  other = std::move(moved);
  EXPECT_EQ(other.path(), folder.path("a"));
  EXPECT_EQ(other.bytes().back(), content.back());
  EXPECT_EQ(other.identity(), MappedFile(folder.path("a")).identity());
}

TEST(MappedFile, KeepsTheOldBytesOfAReplacedFile) {
  const TemporaryFolder folder;
  folder.write("a", "old text");
  folder.write("b", "new");
  const MappedFile file(folder.path("a"));
  fs::rename(folder.path("b"), folder.path("a"));
  EXPECT_EQ(std::string(file.bytes().begin(), file.bytes().end()), "old text");
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_THROW(MappedFile(folder.path("missing")), InputError);
  EXPECT_THROW(MappedFile(folder.path()), InputError);
  EXPECT_THROW(MappedFile(folder.path("pipe")), InputError);  // and does not wait for a writer
}

TEST(TextFiles, OneFile) {
  const TemporaryFolder folder;
  const std::string content = "caf\xc3\xa9\n" + random_text(1000, 2);
  folder.write("a.txt", content);
  const TextFiles files(folder.path("a.txt"));
  EXPECT_EQ(files.num_files(), 1);
  EXPECT_EQ(files.num_bytes(), static_cast<Index>(content.size()));
  EXPECT_EQ(all_text(files), content);
  EXPECT_TRUE(files.notices().empty());
  std::int32_t token = 0;
  files.read(3, {&token, 1});
  EXPECT_EQ(token, 0xc3) << "bytes are tokens from 0 to 255";
}

TEST(TextFiles, AFolderInTheOrderOfPaths) {
  const TemporaryFolder folder;
  folder.write("b.txt", "four");
  folder.write("a/z.txt", "one");
  folder.write("a/zz/y.txt", "two");
  folder.write("a0.txt", "three");
  folder.write("c/d/e/f.txt", "five");
  const TextFiles files(folder.path());
  EXPECT_EQ(files.num_files(), 5);
  EXPECT_EQ(all_text(files), "onetwothreefourfive");
  EXPECT_EQ(files.place(2), (Range{6, 11}));
  EXPECT_TRUE(files.notices().empty());
}

TEST(TextFiles, LeavesOutAndNamesWhatIsNoText) {
  const TemporaryFolder folder;
  folder.write("good.txt", "text");
  folder.write("empty.txt", "");
  folder.write("image.png", std::string("PNG\0data", 8));
  folder.write("late.txt", random_text(64 * 1024, 3) + std::string(1, '\0'));  // past the probe: text
  folder.write("last.bin", random_text(64 * 1024 - 1, 3) + std::string(1, '\0'));
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  const TextFiles files(folder.path());
  EXPECT_EQ(files.num_files(), 2);
  EXPECT_EQ(files.num_bytes(), 4 + 64 * 1024 + 1);
  ASSERT_EQ(files.notices().size(), 3U);
  for (const char* name : {"empty.txt", "image.png", "last.bin", "pipe"}) {
    EXPECT_TRUE(mentions(files.notices(), name)) << name;
  }
}

TEST(TextFiles, LinksDoNoHarm) {
  const TemporaryFolder folder;
  folder.write("sub/a.txt", "text of a");
  const TemporaryFolder elsewhere("elsewhere");
  elsewhere.write("far", "text of another folder");
  fs::create_directory_symlink(folder.path(), folder.path("sub/circle"));
  fs::create_directory_symlink(elsewhere.path(), folder.path("away"));
  fs::create_symlink(folder.path("sub/a.txt"), folder.path("sub/b.txt"));
  fs::create_hard_link(folder.path("sub/a.txt"), folder.path("sub/c.txt"));
  fs::create_symlink(folder.path("nowhere"), folder.path("dangling"));
  fs::create_symlink(folder.path("self"), folder.path("self"));
  const TextFiles files(folder.path());
  EXPECT_EQ(files.num_files(), 1);
  EXPECT_EQ(all_text(files), "text of a");
  for (const char* name : {"away", "circle", "b.txt", "c.txt", "dangling", "self"}) {
    EXPECT_TRUE(mentions(files.notices(), name)) << name;
  }
  EXPECT_TRUE(mentions(files.notices(), "2 link(s) to a folder"));
  EXPECT_EQ(all_text(TextFiles(folder.path("away"))), "text of another folder")
      << "a link given by the user is followed";
}

TEST(TextFiles, ManySkippedFilesAreCounted) {
  const TemporaryFolder folder;
  folder.write("good", "text");
  for (Index i = 0; i < 40; ++i) folder.write("empty" + std::to_string(100 + i), "");
  const TextFiles files(folder.path());
  ASSERT_EQ(files.notices().size(), 1U);
  EXPECT_TRUE(mentions(files.notices(), "40 empty"));
  EXPECT_TRUE(mentions(files.notices(), "empty115 and 24 more"));
}

TEST(TextFiles, RefusesAPathWithoutText) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path("hollow"));
  folder.write("binary", std::string(10, '\0'));
  folder.write("empty", "");
  for (const char* name : {"missing", "hollow", "binary", "empty", "empty/below"}) {
    EXPECT_NE(error_of(folder.path(name)).find(folder.path(name)), std::string::npos) << name;
  }
  EXPECT_NE(error_of(folder.path("binary")).find("binary file"), std::string::npos);
}

// The superuser may read everything, so the test steps down to a user without rights.
class WithoutRights {
 public:
  WithoutRights() {
    if (user_ == 0) {
      EXPECT_EQ(::seteuid(65534), 0);
    }
  }
  WithoutRights(const WithoutRights&) = delete;
  WithoutRights& operator=(const WithoutRights&) = delete;
  ~WithoutRights() {
    if (user_ == 0) {
      EXPECT_EQ(::seteuid(0), 0);
    }
  }

 private:
  uid_t user_ = ::geteuid();
};

TEST(TextFiles, NamesWhatMayNotBeRead) {
  const TemporaryFolder folder;
  folder.write("open/a", "text");
  folder.write("open/closed/b", "text");
  folder.write("file/c", "text");
  fs::permissions(folder.path("open/closed"), fs::perms::none);
  fs::permissions(folder.path("file/c"), fs::perms::none);
  fs::create_directory(folder.path("links"));
  fs::create_symlink(folder.path("open/closed/b"), folder.path("links/into_closed"));
  std::vector<std::string> messages;
  {
    const WithoutRights rights;
    for (const char* name : {"open", "open/closed", "open/closed/b", "file", "links"}) {
      messages.push_back(error_of(folder.path(name)));
    }
  }
  fs::permissions(folder.path("open/closed"), fs::perms::owner_all);
  for (const std::size_t i : {0, 1}) {
    EXPECT_NE(messages[i].find("'" + folder.path("open/closed") + "'"), std::string::npos) << messages[i];
  }
  EXPECT_NE(messages[2].find(folder.path("open/closed/b")), std::string::npos) << messages[2];
  EXPECT_NE(messages[3].find(folder.path("file/c")), std::string::npos) << messages[3];
  EXPECT_NE(messages[4].find(folder.path("links/into_closed")), std::string::npos) << messages[4];
}

TEST(TextFiles, ReadsOnlyWithinOneFile) {
  const TemporaryFolder folder;
  folder.write("a", "abc");
  folder.write("b", "def");
  const TextFiles files(folder.path());
  std::vector<std::int32_t> tokens(3);
  EXPECT_THROW(files.read(1, tokens), InvariantError);
  EXPECT_THROW(files.read(4, tokens), InvariantError);
  EXPECT_THROW(files.read(-1, tokens), InvariantError);
  files.read(3, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{'d', 'e', 'f'}));
  files.read(6, {});
}

TEST(TextFiles, FingerprintIsOfContentNotOfPlace) {
  const TemporaryFolder folder;
  const std::string content = random_text(300000, 4);
  std::string at_the_end = content;
  at_the_end.back() = '!';
  std::string at_the_start = content;
  at_the_start.front() = '!';
  folder.write("one/a", content);
  folder.write("one/b", "more");
  folder.write("two/deep/x", content);
  folder.write("two/y", "more");
  folder.write("longer", content + "x");
  folder.write("end", at_the_end);
  folder.write("start", at_the_start);
  folder.write("swapped/a", "more");
  folder.write("swapped/b", content);
  std::set<std::uint64_t> others;
  for (const char* name : {"one", "longer", "end", "start", "swapped", "one/a", "one/b"}) {
    others.insert(TextFiles(folder.path(name)).fingerprint());
  }
  EXPECT_EQ(others.size(), 7U);
  EXPECT_EQ(TextFiles(folder.path("one")).fingerprint(), TextFiles(folder.path("two")).fingerprint());
}

TEST(Segments, CutFilesAtTheBorder) {
  const TemporaryFolder folder;
  folder.write("a", "0123");
  folder.write("b", "45");
  folder.write("c", "6789");
  const TextFiles files(folder.path());
  using Ranges = std::vector<Range>;
  EXPECT_EQ(segments(files, {0, 10}), (Ranges{{0, 4}, {4, 6}, {6, 10}}));
  EXPECT_EQ(segments(files, {0, 5}), (Ranges{{0, 4}, {4, 5}}));
  EXPECT_EQ(segments(files, {6, 10}), (Ranges{{6, 10}}));
  EXPECT_EQ(segments(files, {10, 10}), Ranges{});
}

TEST(Windows, FixedOnesTakeWhatFits) {
  // 4 inputs and a target: segments of 4, 5, 8, 9 and 14 bytes have room for 0, 1, 1, 2 and 3.
  const auto windows = Windows::fixed({{0, 4}, {4, 9}, {9, 17}, {17, 26}, {26, 40}, {40, 40}}, 4);
  ASSERT_EQ(windows.count(), 7);
  std::vector<Index> begins;
  for (Index n = 0; n < 7; ++n) {
    EXPECT_EQ(windows.window(n).size(), 5);
    EXPECT_EQ(windows.window(n), windows.window(n, 3));
    begins.push_back(windows.window(n).begin);
  }
  EXPECT_EQ(begins, (std::vector<Index>{4, 9, 17, 21, 26, 30, 34}));
  EXPECT_THROW((void)windows.window(7), InvariantError);
  EXPECT_THROW((void)windows.window(-1), InvariantError);
  EXPECT_EQ(Windows::fixed({}, 4).count(), 0);
}

// Segments of every length about the borders, many epochs: windows stay in their segment, do not overlap but for one
// byte, and reach every byte of the segment and every alignment that it has room for.
TEST(Windows, ShiftingOnesStayInTheirSegmentAndReachAllOfIt) {
  for (const Index context : {1, 2, 5, 8}) {
    for (Index size = 0; size <= 4 * context + 2; ++size) {
      const Range segment{100, 100 + size};
      const auto windows = Windows::shifting({{0, 3}, segment}, context, 7);
      const Index in_first = Windows::shifting({{0, 3}}, context, 7).count();
      const Index expected = size <= context ? 0 : std::max<Index>(1, size / context - 1);
      ASSERT_EQ(windows.count() - in_first, expected) << context << " " << size;
      std::set<Index> alignments;
      std::set<Index> reached;
      for (Index epoch = 0; epoch < 200; ++epoch) {
        for (Index n = in_first; n < windows.count(); ++n) {
          const Range window = windows.window(n, epoch);
          EXPECT_EQ(window.size(), context + 1);
          EXPECT_GE(window.begin, segment.begin);
          EXPECT_LE(window.end, segment.end);
          alignments.insert((window.begin - segment.begin) % context);
          for (Index byte = window.begin; byte < window.end; ++byte) reached.insert(byte);
          if (n > in_first) {
            EXPECT_EQ(window.begin, windows.window(n - 1, epoch).end - 1);
          }
        }
      }
      if (expected == 0) continue;
      EXPECT_EQ(static_cast<Index>(reached.size()), size) << context << " " << size;
      EXPECT_GE(static_cast<Index>(alignments.size()), std::min(context, size - context)) << context << " " << size;
    }
  }
}

TEST(Windows, ShiftsDependOnSeedAndEpochAlone) {
  const std::vector<Range> segments = {{0, 100000}, {100000, 300000}};
  const auto windows = Windows::shifting(segments, 1000, 1);
  const auto again = Windows::shifting(segments, 1000, 1);
  const auto other = Windows::shifting(segments, 1000, 2);
  EXPECT_EQ(windows.window(150, 4), again.window(150, 4));
  EXPECT_NE(windows.window(150, 4), other.window(150, 4));
  EXPECT_NE(windows.window(150, 4), windows.window(150, 5));
  EXPECT_NE(windows.window(0, 4).begin, windows.window(99, 4).begin - 100000) << "each segment has its own shift";
}

TEST(Listed, NamesAFewAndCountsTheOthers) {
  EXPECT_EQ(listed({}), "");
  EXPECT_EQ(listed(std::vector<std::string>{"a", "b"}), "a, b");
  EXPECT_EQ(listed(std::vector<std::string>(18, "x")), "x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x and 2 more");
}

}  // namespace
}  // namespace conclave::train
