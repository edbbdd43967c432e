// SPDX-License-Identifier: BSD-3-Clause
#include "gating/rule_table.hpp"

#include "tests/gating/reference_fixed.hpp"
#include "tests/gating/rule_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

using Experts = std::vector<std::int32_t>;

const std::vector<std::string> domain_names{"prose", "code", "tables"};

RuleTable table_of(const std::string& text, Index top_k = 1) {
  return RuleTable(text, "rules.txt", {10, top_k, domain_names});
}

Experts experts_of(const RuleTable& table, std::int32_t token, std::optional<std::int32_t> domain = std::nullopt) {
  const auto experts = table.experts_of(token, domain);
  return {experts.begin(), experts.end()};
}

TEST(ByteClassTest, IsThatOfTheCLocale) {
  const auto name = [](ByteClass c) {
    return std::array{"letter", "digit", "space", "punctuation", "other"}[static_cast<std::size_t>(c)];
  };
  for (std::int32_t id = -2; id < 300; ++id) EXPECT_EQ(name(byte_class(id)), reference_class(id)) << id;
  EXPECT_EQ(byte_class('e'), ByteClass::letter);
  EXPECT_EQ(byte_class('_'), ByteClass::punctuation);
  EXPECT_EQ(byte_class('\n'), ByteClass::space);
  EXPECT_EQ(byte_class(0xE4), ByteClass::other) << "a letter in Latin 1 only";
  EXPECT_EQ(byte_class('e' + 256), ByteClass::other) << "no byte";
}

TEST(RuleTableTest, EveryKindOfCondition) {
  const RuleTable table = table_of(
      "token 7 -> 1\n"
      "token 10, 20-22,30 - 31 -> 2\n"
      "class digit, space -> 3\n"
      "domain 2 -> 4\n"
      "domain code, prose -> 5\n"
      "default -> 6\n");
  EXPECT_EQ(experts_of(table, 7), Experts{1});
  EXPECT_EQ(experts_of(table, 10), Experts{2}) << "and not a space, which stands below";
  for (const int id : {20, 21, 22, 30, 31}) EXPECT_EQ(experts_of(table, id), Experts{2}) << id;
  for (const int id : {6, 8, 19, 23, 29}) EXPECT_EQ(experts_of(table, id), Experts{6}) << id;
  EXPECT_EQ(experts_of(table, '5'), Experts{3});
  EXPECT_EQ(experts_of(table, ' ', 2), Experts{3}) << "the first rule that fits decides";
  EXPECT_EQ(experts_of(table, 'a', 2), Experts{4});
  EXPECT_EQ(experts_of(table, 'a', 1), Experts{5});
  EXPECT_EQ(experts_of(table, 'a', 0), Experts{5});
  EXPECT_EQ(experts_of(table, 'a'), Experts{6}) << "a domain that is not known fits no domain";
  EXPECT_EQ(experts_of(table, 'a', 3), Experts{6});
}

TEST(RuleTableTest, WhatNoRuleFitsHasNoExperts) {
  const RuleTable table = table_of("token 5 -> 1\ndomain 0 -> 2");
  EXPECT_TRUE(experts_of(table, 6).empty());
  EXPECT_TRUE(experts_of(table, 6, 1).empty());
  EXPECT_EQ(experts_of(table, 6, 0), Experts{2});
}

TEST(RuleTableTest, LinesCommentsSemicolonsAndBlanks) {
  const RuleTable table = table_of(
      "\n# token 1 -> 9, 9\n\n"
      "  token 1->2,3;\ttoken 2 ->3 , 2 ;; # ; token 3 -> 9\r\n"
      "class other->4,5# to the end\n"
      "default -> 0,1",
      2);
  EXPECT_EQ(experts_of(table, 1), (Experts{2, 3}));
  EXPECT_EQ(experts_of(table, 2), (Experts{3, 2}));
  EXPECT_EQ(experts_of(table, 3), (Experts{4, 5}));
  EXPECT_EQ(experts_of(table, 'a'), (Experts{0, 1}));
}

TEST(RuleTableTest, TextIsOneLineThatReadsTheSame) {
  EXPECT_EQ(table_of(" token 1 - 2,7 -> 1\n class space,digit -> 3\n").text().find('\n'), std::string::npos);
  EXPECT_EQ(table_of("token 5,7-9->3;class space , digit->4\ndomain tables,prose->1\ndefault->0").text(),
            "token 5,7-9 -> 3; class digit,space -> 4; domain 2,0 -> 1; default -> 0");
}

TEST(RuleTableTest, EqualsTheReferenceAndSoDoesItsText) {
  Index num_found = 0;
  for (Index number = 0; number < 200; ++number) {
    Draws draw(3000 + number);
    const Index top_k = 1 + draw.below(3);
    const std::vector<ReferenceRule> rules = random_rules(draw, 10, top_k);
    const std::string text = rules_text(rules, draw);
    SCOPED_TRACE(text);
    const RuleTable table(text, "rules", {10, top_k, {}});
    const RuleTable again(table.text(), "rules", {10, top_k, {}});
    EXPECT_EQ(again.text(), table.text());
    for (Index token = 0; token < 300; token += 1 + draw.below(5)) {
      const Index domain = draw.below(5) - 1;
      const auto rule = std::find_if(rules.begin(), rules.end(),
                                     [&](const ReferenceRule& r) { return reference_fits(r, token, domain); });
      const auto known = domain < 0 ? std::nullopt : std::optional(static_cast<std::int32_t>(domain));
      const Experts expected(rule->experts.begin(), rule->experts.end());
      ASSERT_EQ(experts_of(table, static_cast<std::int32_t>(token), known), expected) << token << " in " << domain;
      ASSERT_EQ(experts_of(again, static_cast<std::int32_t>(token), known), expected) << token << " in " << domain;
      num_found += rule + 1 != rules.end() ? 1 : 0;
    }
  }
  EXPECT_GT(num_found, 3000) << "by another rule than the last";
}

struct Refusal {
  std::string message;
  std::string hint;
};

Refusal refusal(const std::string& text, Index top_k = 1, std::span<const std::string> names = domain_names) {
  try {
    static_cast<void>(RuleTable(text, "rules.txt", {4, top_k, names}));
  } catch (const InputError& error) {
    return {error.what(), error.hint()};
  }
  return {"accepted", ""};
}

TEST(RuleTableTest, ErrorsNameSourceLineAndRemedy) {
  struct Case {
    std::string text;
    std::string message;
    std::string hint;
    Index top_k = 1;
  };
  const std::vector<Case> cases = {
      {"default 1", "rules.txt, line 1: 'default 1' has no '->'", "CONDITION -> EXPERTS"},
      {"# a\n\ndefault -> 1; token 5\n", "rules.txt, line 3: 'token 5' has no '->'", "CONDITION -> EXPERTS"},
      {"default -> 1\nbyte 5 -> 1", "rules.txt, line 2: 'byte 5' is no condition", "token NUMBERS"},
      {"default 5 -> 1", "line 1: 'default 5' is no condition", "or default"},
      {"-> 1", "line 1: '' is no condition", "or default"},
      {"class digt -> 1", "line 1: there is no class 'digt'; did you mean digit?", "letter, digit, space"},
      {"class -> 1", "line 1: there is no class ''", "letter, digit, space"},
      {"class digit,, space -> 1", "line 1: there is no class ''", "letter, digit, space"},
      {"token x -> 1", "line 1: 'x' is no token", "numbers of 0 or more"},
      {"token 9-3 -> 1", "line 1: '9-3' is no token", "ranges such as 48-57"},
      {"token -3 -> 1", "line 1: '-3' is no token", "numbers of 0 or more"},
      {"token 3- -> 1", "line 1: '3-' is no token", "ranges"},
      {"token 99999999999 -> 1", "line 1: '99999999999' is no token", "numbers"},
      {"token 1.5 -> 1", "line 1: '1.5' is no token", "numbers"},
      {"domain poems -> 1", "line 1: there is no domain 'poems'", "0 to 2, or by name: prose, code, tables"},
      {"domain 3 -> 1", "line 1: there is no domain '3'", "0 to 2"},
      {"default -> 4", "line 1: '4' is no expert", "numbers from 0 to 3"},
      {"default -> -1", "line 1: '-1' is no expert", "numbers from 0 to 3"},
      {"default -> one", "line 1: 'one' is no expert", "numbers from 0 to 3"},
      {"default -> ", "line 1: '' is no expert", "numbers from 0 to 3"},
      {"default -> 2, 2", "line 1: expert 2 stands twice", "different experts", 2},
      {"default -> 1", "line 1: 1 experts in '1'", "exactly top_k = 2", 2},
      {"default -> 1,2,3", "line 1: 3 experts in '1,2,3'", "exactly top_k = 2", 2},
      {"", "rules.txt has no rules", "default -> EXPERTS"},
      {" ; # default -> 1\n", "rules.txt has no rules", "default -> EXPERTS"},
  };
  for (const Case& c : cases) {
    const Refusal r = refusal(c.text, c.top_k);
    EXPECT_NE(r.message.find(c.message), std::string::npos) << c.text << ": " << r.message;
    EXPECT_NE(r.hint.find(c.hint), std::string::npos) << c.text << ": " << r.hint;
  }
  EXPECT_EQ(refusal("domain poems -> 1", 1, {}).hint,
            "domains are numbers of 0 or more; a rule file may name those of data that has them");
  EXPECT_EQ(refusal("domain 3 -> 3", 1, {}).message, "accepted") << "without names, any number";
}

}  // namespace
}  // namespace conclave::gating
