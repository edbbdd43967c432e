// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/options.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace conclave {
namespace {

enum class Colour { red, green };

constexpr std::array<EnumName<Colour>, 2> enum_names(Colour) {
  return {{{Colour::red, "red"}, {Colour::green, "green"}}};
}

struct Sample {
  Index top_k = 2;
  double capacity_factor = 1.25;
  bool jitter = false;
  std::string path = "a b";
  Colour colour = Colour::red;
  std::vector<std::string> names{"x", "y"};
  std::vector<Index> sizes{4, 5};
  std::vector<double> shares{0.5, 2.0};
};

OptionTable describe(Sample& sample) {
  OptionTable table;
  table.add("top_k", sample.top_k, "experts a token goes to");
  table.add("capacity_factor", sample.capacity_factor, "slots");
  table.add("jitter", sample.jitter, "whether to jitter");
  table.add("path", sample.path, "a file");
  table.add("colour", sample.colour, "a colour");
  table.add("names", sample.names, "names");
  table.add("sizes", sample.sizes, "sizes");
  table.add("shares", sample.shares, "shares");
  return table;
}

TEST(Options, AssignReadsEveryKind) {
  Sample sample;
  OptionTable table = describe(sample);
  table.assign("top_k", "-7");
  table.assign("capacity_factor", "0.5e1");
  table.assign("jitter", "yes");
  table.assign("path", "");
  table.assign("colour", "green");
  table.assign("names", "one,two,three");
  table.assign("sizes", "1,-2");
  table.assign("shares", "1,-2.5,3e-2");
  EXPECT_EQ(sample.top_k, -7);
  EXPECT_EQ(sample.capacity_factor, 5.0);
  EXPECT_TRUE(sample.jitter);
  EXPECT_EQ(sample.path, "");
  EXPECT_EQ(sample.colour, Colour::green);
  EXPECT_EQ(sample.names, (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(sample.sizes, (std::vector<Index>{1, -2}));
  EXPECT_EQ(sample.shares, (std::vector<double>{1.0, -2.5, 0.03}));
  table.assign("sizes", "");
  EXPECT_TRUE(sample.sizes.empty());
  table.assign("shares", "");
  EXPECT_TRUE(sample.shares.empty());
  for (const auto* no : {"no", "false", "0"}) {
    sample.jitter = true;
    table.assign("jitter", no);
    EXPECT_FALSE(sample.jitter) << no;
  }
}

TEST(Options, TextMayBeGivenBack) {
  Sample given;
  given.top_k = std::numeric_limits<Index>::max();
  given.capacity_factor = 0.1 + 0.2;
  given.jitter = true;
  given.path = "with, comma = and # more";
  given.colour = Colour::green;
  given.names = {};
  given.sizes = {9};
  given.shares = {0.1 + 0.2, -1e300};
  Sample taken;
  OptionTable target = describe(taken);
  const OptionTable source = describe(given);
  ASSERT_EQ(source.options().size(), 8U);
  for (const Option& option : source.options()) target.assign(option.name, option.text());
  EXPECT_EQ(taken.top_k, given.top_k);
  EXPECT_EQ(taken.capacity_factor, given.capacity_factor);
  EXPECT_EQ(taken.jitter, given.jitter);
  EXPECT_EQ(taken.path, given.path);
  EXPECT_EQ(taken.colour, given.colour);
  EXPECT_EQ(taken.names, given.names);
  EXPECT_EQ(taken.sizes, given.sizes);
  EXPECT_EQ(taken.shares, given.shares);
}

TEST(Options, WrongTextIsAnInputErrorAndChangesNothing) {
  Sample sample;
  OptionTable table = describe(sample);
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"top_k", "two"},
      {"top_k", "2.5"},
      {"top_k", ""},
      {"top_k", "99999999999999999999"},
      {"jitter", "maybe"},
      {"colour", "blue"},
      {"sizes", "1,,2"},
      {"sizes", "1,x"},
      {"capacity_factor", "1.0x"},
      {"shares", "1,,2"},
      {"shares", "0.5,half"},
      {"shares", "1;2"},
  };
  for (const auto& [name, text] : wrong) {
    try {
      table.assign(name, text);
      ADD_FAILURE() << name << " took '" << text << "'";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos);
      EXPECT_NE(error.hint().find(table.find(name)->accepts), std::string::npos) << error.hint();
    }
  }
  EXPECT_EQ(sample.top_k, 2);
  EXPECT_FALSE(sample.jitter);
  EXPECT_EQ(sample.colour, Colour::red);
  EXPECT_EQ(sample.sizes, (std::vector<Index>{4, 5}));
  EXPECT_EQ(sample.shares, (std::vector<double>{0.5, 2.0}));
  EXPECT_EQ(sample.capacity_factor, 1.25);
}

TEST(Options, UnknownNamesAreAnsweredWithNearOnes) {
  Sample sample;
  OptionTable table = describe(sample);
  EXPECT_EQ(table.find("topk"), nullptr);
  try {
    table.assign("topk", "1");
    FAIL() << "an unknown option was taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean top_k?"), std::string::npos) << error.what();
  }
  EXPECT_EQ(table.nearest("capacity"), std::vector<std::string>{"capacity_factor"}) << "a beginning is near";
  EXPECT_TRUE(table.nearest("zzzzzzzz").empty());
  EXPECT_EQ(did_you_mean({}), "");
  EXPECT_EQ(nearest_names("abcd", {"abxy", "abcx", "abcd", "abce", "qqqq"}),
            (std::vector<std::string>{"abcd", "abcx", "abce"}));
}

TEST(Options, DescriptionsSayWhatIsAccepted) {
  Sample sample;
  const OptionTable table = describe(sample);
  EXPECT_EQ(table.find("colour")->accepts, "one of red, green");
  EXPECT_TRUE(table.find("jitter")->is_flag);
  EXPECT_FALSE(table.find("top_k")->is_flag);
  EXPECT_EQ(table.options().front().name, "top_k");
}

TEST(Options, ACommandMayRenameAndRemove) {
  Index width = 1;
  Index depth = 2;
  OptionTable table;
  table.add("model_width", width, "features");
  table.add("depth", depth, "layers");
  table.rename("model_width", "width");
  table.remove("depth");
  table.assign("width", "5");
  EXPECT_EQ(width, 5);
  EXPECT_EQ(table.find("model_width"), nullptr);
  EXPECT_EQ(table.find("depth"), nullptr);
  EXPECT_EQ(table.options().size(), 1U);
  EXPECT_THROW(table.rename("depth", "layers"), InvariantError);
  EXPECT_THROW(table.rename("width", "width"), InvariantError);
  EXPECT_THROW(table.remove("depth"), InvariantError);
}

TEST(Options, ANameIsDescribedOnce) {
  Sample sample;
  OptionTable table = describe(sample);
  EXPECT_THROW(table.add("top_k", sample.top_k, "again"), InvariantError);
  EXPECT_THROW((void)name_of(static_cast<Colour>(9)), InvariantError);
}

}  // namespace
}  // namespace conclave
