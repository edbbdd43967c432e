// SPDX-License-Identifier: BSD-3-Clause
// docs/routers.md against the tables of the code: nothing that can be chosen is missing there.
#include "gating/explain.hpp"
#include "gating/presets.hpp"
#include "gating/router.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

namespace conclave::gating {
namespace {

std::string page() {
  std::ifstream file(CONCLAVE_ROUTER_DOCS);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The rows of the tables whose first cell is `name` as code.
std::vector<std::string> rows_of(std::string_view name) {
  std::istringstream lines(page());
  std::vector<std::string> rows;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(fmt::format("| `{}` |", name))) rows.push_back(line);
  }
  return rows;
}

bool has_row_with(std::string_view name, const std::string& part) {
  for (const std::string& row : rows_of(name)) {
    if (row.find(part) != std::string::npos) return true;
  }
  return false;
}

/// How many tables each name has to stand in.
class Names {
 public:
  void add(std::string_view name) { ++wanted_[std::string(name)]; }
  template <class Enum>
  void add_all(Enum) {
    for (const auto& entry : enum_names(Enum{})) add(entry.name);
  }
  void expect_rows() const {
    for (const auto& [name, tables] : wanted_) EXPECT_GE(rows_of(name).size(), tables) << name;
  }

 private:
  std::map<std::string, std::size_t> wanted_;
};

TEST(RouterDocsTest, NameEveryChoice) {
  ASSERT_GT(page().size(), 1000U) << CONCLAVE_ROUTER_DOCS;
  EXPECT_TRUE(rows_of("no such router").empty());
  Names names;
  for (const RouterKind& kind : router_kinds()) names.add(kind.name);
  names.add_all(GateKind{});
  names.add_all(Selection{});
  names.add_all(Normalise{});
  names.add_all(Priority{});
  names.add_all(Overflow{});
  names.add_all(SecondPolicy{});
  names.add_all(DropReason{});
  names.expect_rows();
}

TEST(RouterDocsTest, NameEveryPreset) {
  for (const RouterPreset& kind : router_presets()) EXPECT_FALSE(rows_of(kind.name).empty()) << kind.name;
}

TEST(RouterDocsTest, GiveEveryFormulaItsSlots) {
  for (const auto& entry : enum_names(CapacityFormula{})) {
    const Index slots = expert_capacity(entry.value, 1.25, 2.0, 1000, 64, 0);
    EXPECT_TRUE(has_row_with(entry.name, fmt::format("| {} |", slots))) << entry.name << ": " << slots;
    const std::string formula = formula_of(entry.value);
    EXPECT_TRUE(has_row_with(entry.name, formula.substr(0, formula.find(',')))) << entry.name << ": " << formula;
  }
}

}  // namespace
}  // namespace conclave::gating
