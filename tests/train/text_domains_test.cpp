// SPDX-License-Identifier: BSD-3-Clause
// Domains of text: which entries of a folder they are, and that every token is told its own.
#include "runtime/train/text_domains.hpp"
#include "runtime/core/error.hpp"
#include "runtime/train/dataset.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace conclave::train {
namespace {

using Names = std::vector<std::string>;

// A folder whose bytes tell the entry they are in: A, B or C.
void write_three_entries(const TemporaryFolder& folder) {
  folder.write("beta/deep/1.txt", std::string(300, 'B'));
  folder.write("beta/2.txt", std::string(500, 'B'));
  folder.write("alpha.txt", std::string(700, 'A'));
  folder.write("beta.txt", std::string(400, 'C'));  // its path stands before those in beta/
  folder.write("empty.txt", "");
  folder.write("binary", std::string(100, '\0'));
}

const Names three_names{"alpha.txt", "beta", "beta.txt"};

TEST(TextDomainsTest, AreTheEntriesOfAFolderThatHoldText) {
  const TemporaryFolder folder;
  write_three_entries(folder);
  for (const std::string& path : {folder.path(), folder.path() + "/"}) {
    const TextFiles files(path);
    ASSERT_EQ(files.num_files(), 4);
    const TextDomains domains(files, path);
    EXPECT_EQ(domains.names(), three_names) << path;
    for (Index file = 0; file < files.num_files(); ++file) {
      std::vector<std::int32_t> byte(1);
      files.read(files.place(file).begin, byte);
      EXPECT_EQ(domains.of_file(file), byte[0] == 'A' ? 0 : byte[0] == 'B' ? 1 : 2) << files.path(file);
    }
  }
}

TEST(TextDomainsTest, AreNoneWithoutASecondEntry) {
  const TemporaryFolder folder;
  folder.write("only/1.txt", "some text");
  folder.write("only/2.txt", "other text");
  folder.write("empty.txt", "");
  EXPECT_TRUE(TextDomains(TextFiles(folder.path()), folder.path()).names().empty());
  EXPECT_EQ(TextDomains(TextFiles(folder.path("only")), folder.path("only")).names(), (Names{"1.txt", "2.txt"}));
  const std::string file = folder.path("only/1.txt");
  EXPECT_TRUE(TextDomains(TextFiles(file), file).names().empty());
}

TEST(TextDomainsTest, AreTheWorkingFoldersEntriesToo) {
  const TemporaryFolder folder;
  write_three_entries(folder);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const Names names = TextDomains(TextFiles("."), ".").names();
  std::filesystem::current_path(before);
  EXPECT_EQ(names, three_names);
}

TEST(TextDomainsTest, GoWithEveryTokenOfABatch) {
  const TemporaryFolder folder;
  write_three_entries(folder);
  const auto data = make_dataset({.data = folder.path(), .validation_fraction = 0.5}, 16, 3);
  EXPECT_EQ(data->domain_names(), three_names);
  EXPECT_EQ(data->num_domains(), 3);
  for (const Split split : {Split::train, Split::validation}) {
    const Index count = std::min<Index>(40, data->num_sequences(split));
    ASSERT_GT(count, 10);
    Batch batch;
    data->read_batch(split, 0, count, batch);
    ASSERT_EQ(batch.domains.size(), batch.tokens.size());
    for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
      const char letter = three_names[static_cast<std::size_t>(batch.domains[i])] == "alpha.txt" ? 'A'
                          : three_names[static_cast<std::size_t>(batch.domains[i])] == "beta"    ? 'B'
                                                                                                 : 'C';
      EXPECT_EQ(batch.tokens[i], letter);
    }
    EXPECT_GT(std::set(batch.domains.begin(), batch.domains.end()).size(), 1U);
  }
}

TEST(TextDomainsTest, AreForgottenByABatchOfDataWithoutThem) {
  const TemporaryFolder folder;
  folder.write("a", random_text(500, 1));
  Batch batch;
  const auto corpus = make_dataset({.corpus = {.domains = 3, .alphabet = 10, .sequences = 50}}, 8, 0);
  EXPECT_EQ(corpus->domain_names(), (Names{"0", "1", "2"}));
  corpus->read_batch(Split::train, 5, 4, batch);
  ASSERT_EQ(batch.domains.size(), 32U);
  for (Index i = 0; i < 32; ++i) EXPECT_EQ(batch.domains[i], *corpus->domain(Split::train, 5 + i / 8));
  const auto text = make_dataset({.data = folder.path("a")}, 8, 0);
  EXPECT_TRUE(text->domain_names().empty());
  text->read_batch(Split::train, 0, 4, batch);
  EXPECT_EQ(batch.tokens.size(), 32U);
  EXPECT_TRUE(batch.domains.empty());
}

TEST(TextFilesTest, KnowTheFileOfEachByte) {
  const TemporaryFolder folder;
  folder.write("a", "xy");
  folder.write("b", "z");
  const TextFiles files(folder.path());
  EXPECT_EQ(files.file_at(0), 0);
  EXPECT_EQ(files.file_at(1), 0);
  EXPECT_EQ(files.file_at(2), 1);
  EXPECT_THROW((void)files.file_at(3), InvariantError);
  EXPECT_THROW((void)files.file_at(-1), InvariantError);
}

}  // namespace
}  // namespace conclave::train
