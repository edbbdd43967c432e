// SPDX-License-Identifier: BSD-3-Clause
// Tables of results as the files that other programs read.
#include "apps/result_table.hpp"

#include "runtime/core/error.hpp"
#include "runtime/train/hdf5.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::apps {
namespace {

ResultTable example() {
  const std::vector<double> rows{0.1, 1e-300, std::nan("")};
  return {column("seconds", "s", rows, [](double s) { return s; }),
          column("ranks", "1", rows, [](double s) { return Index{s < 1e-9 ? 1048576 : 2}; }),
          column("limited, by", "", rows, [](double s) {
            return std::string(s > 0.01 ? "plain" : s > 0.0 ? "a \"link\"" : "up, down");
          })};
}

TEST(ResultTable, ReadsAsCommaSeparatedValues) {
  EXPECT_EQ(csv_text(example()),
            "seconds,ranks,\"limited, by\"\n"
            "0.1,2,plain\n"
            "1e-300,1048576,\"a \"\"link\"\"\"\n"
            ",2,\"up, down\"\n");
  EXPECT_EQ(csv_text({}), "\n");
}

TEST(ResultTable, ReadsAsHdf5) {
  const train::TemporaryFolder folder;
  const std::string path = folder.path("t.h5");
  write({"", path}, {example()[1]});
  write({"", path}, example());  // in place of the other
  const train::Hdf5File file = train::Hdf5File::open(path);
  const std::vector<double> seconds = file.read<double>("/seconds");
  ASSERT_EQ(seconds.size(), 3U);
  EXPECT_EQ(seconds[0], 0.1);
  EXPECT_EQ(seconds[1], 1e-300);
  EXPECT_TRUE(std::isnan(seconds[2]));
  EXPECT_EQ(file.read<Index>("/ranks"), (std::vector<Index>{2, 1048576, 2}));
  EXPECT_EQ(file.read<std::string>("/limited, by"), (std::vector<std::string>{"plain", "a \"link\"", "up, down"}));
  EXPECT_EQ(file.attribute<std::string>("/seconds", "unit"), "s");
  EXPECT_FALSE(file.has_attribute("/limited, by", "unit"));
  EXPECT_EQ(file.shape("/ranks"), std::vector<Index>{3});
}

TEST(ResultTable, RefusesWhatCannotBeWritten) {
  const train::TemporaryFolder folder;
  EXPECT_THROW(write({folder.path("nowhere/t.csv"), ""}, example()), InputError);
  EXPECT_THROW(write({"", folder.path("nowhere/t.h5")}, example()), InputError);
  ResultTable uneven = example();
  std::get<std::vector<Index>>(uneven[1].values).pop_back();
  EXPECT_THROW(write({folder.path("t.csv"), ""}, uneven), InvariantError);
  EXPECT_FALSE(std::filesystem::exists(folder.path("t.csv")));
}

}  // namespace
}  // namespace conclave::apps
