// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/seal.hpp"

#include "runtime/core/error.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

namespace conclave::train {
namespace {

using test::content_of;

class SealTest : public testing::Test {
 protected:
  /// A sealed file of random letters, and its bytes.
  std::string sealed(Index size, const std::vector<Range>& uncovered) {
    folder_.write("file", random_text(size, 3));
    seal(file(), uncovered);
    return content_of(file());
  }
  [[nodiscard]] std::string file() const { return folder_.path("file"); }
  [[nodiscard]] bool is_accepted(const std::string& bytes) const {
    folder_.write("file", bytes);
    try {
      require_sealed(file());
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(file()), std::string::npos) << error.what();
      return false;
    }
    return true;
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(SealTest, refuses_every_changed_byte_that_it_covers_and_no_other) {
  const std::vector<Range> uncovered{{50, 60}, {10, 30}, {30, 31}, {70, 70}, {99, 100}};
  const std::string good = sealed(100, uncovered);
  EXPECT_TRUE(is_accepted(good));
  Index num_uncovered = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] ^= static_cast<char>(1 << (at % 8));
    const auto covers = [&](Range r) { return r.contains(static_cast<Index>(at)); };
    const bool is_uncovered = std::any_of(uncovered.begin(), uncovered.end(), covers);
    num_uncovered += is_uncovered ? 1 : 0;
    EXPECT_EQ(is_accepted(bad), is_uncovered) << at;
  }
  EXPECT_EQ(num_uncovered, 32);
  EXPECT_TRUE(is_accepted(good));
  EXPECT_EQ(uncovered_by_seal(file()), (std::vector<Range>{{10, 31}, {50, 60}, {99, 100}}));
}

TEST_F(SealTest, refuses_a_file_of_another_length) {
  const std::string good = sealed(100, {{10, 20}});
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(is_accepted(good.substr(0, size))) << size;
  EXPECT_FALSE(is_accepted(good + 'x'));
  EXPECT_FALSE(is_accepted('x' + good));
  EXPECT_FALSE(is_accepted(good + good));
}

TEST_F(SealTest, covers_files_of_any_size) {
  for (const Index size : {Index{0}, Index{1}, (Index{1} << 20) + 7}) {
    const std::string good = sealed(size, {});
    EXPECT_TRUE(is_accepted(good)) << size;
    std::string bad = good;
    bad[good.size() / 2] ^= 64;
    EXPECT_FALSE(is_accepted(bad)) << size;
    const std::string open = sealed(size, {{0, size}});
    EXPECT_TRUE(is_accepted(open)) << size;
  }
}

}  // namespace
}  // namespace conclave::train
