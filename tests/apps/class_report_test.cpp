// SPDX-License-Identifier: BSD-3-Clause
#include "apps/class_report.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ClassReport, ShowsFewClassesAsAMatrix) {
  train::Confusion c(3);
  for (int i = 0; i < 25; ++i) c.add(0, 0);
  for (int i = 0; i < 7; ++i) c.add(0, 1);
  for (int i = 0; i < 4; ++i) c.add(1, 1);
  const std::string report = class_report(c, {"a name of thirty letters at last", "b", "nobody"});
  EXPECT_TRUE(contains(report, fmt::format("  {:<22}{:8}{:8}{:8}\n", "a name of thirty lette", 25, 7, 0))) << report;
  EXPECT_TRUE(contains(report, fmt::format("  {:<22}{:8}{:8}{:8}\n", "b", 0, 4, 0))) << report;
  EXPECT_TRUE(contains(report, "  b                         0.3636    1.0000    0.5333         4\n")) << report;
  EXPECT_TRUE(contains(report, "nobody                   neither sampled nor predicted")) << report;
  EXPECT_EQ(
      class_summary(c, 29.0 / 36.0),
      fmt::format("accuracy 80.56 %, macro F1 {:.4f}, weighted F1 {:.4f} (over the 2 of 3 classes that have samples or "
                  "predictions)",
                  c.macro_f1(), c.weighted_f1()));
}

TEST(ClassReport, ShowsOfManyClassesTheCommonestConfusions) {
  train::Confusion c(13);
  std::vector<std::string> names;
  for (Index k = 0; k < 13; ++k) {
    names.push_back(fmt::format("class{}", k));
    c.add(k, k);
  }
  EXPECT_TRUE(contains(class_report(c, names), "No class is taken for another"));
  for (Index k = 0; k < 13; ++k) {
    for (Index i = 0; i <= k; ++i) c.add(k, (k + 1) % 13);
  }
  const std::string report = class_report(c, names);
  EXPECT_TRUE(contains(report, "12 of 13")) << report;
  EXPECT_TRUE(contains(report, "       13   class12 -> class0\n")) << report;
  EXPECT_FALSE(contains(report, "class0 -> class1\n")) << "the rarest";
  EXPECT_LT(report.find("class12 -> class0"), report.find("class11 -> class12"));
}

}  // namespace
}  // namespace conclave::apps
