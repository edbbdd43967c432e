// SPDX-License-Identifier: BSD-3-Clause
// Who serves what, as text and as a page: what is shown is what was counted, and no byte breaks out of its element.
#include "apps/routing_view.hpp"

#include <gmock/gmock.h>

namespace conclave::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

// Expert 0 has all letters, expert 1 all spaces; domains are shared evenly.
std::vector<LayerView> two_experts() {
  LayerView layer{.block = 3, .experts = 2, .census = {std::vector<Index>(512, 0), {6, 6, 2, 2}}};
  layer.census.tokens['a'] = 8;
  layer.census.tokens['<'] = 4;
  layer.census.tokens[256 + ' '] = 4;
  return {layer};
}

const std::vector<std::string> names{"<b>", "plain"};

TEST(RoutingText, TellsWhatWasCounted) {
  const std::string text = text_of(two_experts(), names);
  EXPECT_THAT(text, HasSubstr("block 3: 2 experts, 16 claims served"));
  EXPECT_THAT(
      text,
      HasSubstr("expert and byte class   0.8564 bits of at most 0.8564  ####################  (uncorrected 0.8113)"));
  EXPECT_THAT(
      text,
      HasSubstr("expert and domain      -0.0451 bits of at most 0.8564  ....................  (uncorrected 0.0000)"));
  EXPECT_THAT(text, Not(HasSubstr("digit"))) << "no byte is one";
  EXPECT_THAT(text, HasSubstr("a x1.33 (8), < x1.33 (4); -"));
  EXPECT_THAT(text, HasSubstr("space x4.00 (4); -"));
  std::vector<LayerView> without = two_experts();
  without[0].census.domains.clear();
  EXPECT_THAT(text_of(without, {}), Not(HasSubstr("domain")));
}

TEST(RoutingText, FollowsASentence) {
  const SentencePath path{"<\n", {{{0, 0.75}, {}}}};
  const std::string text = text_of(path, two_experts(), false);
  EXPECT_THAT(text, HasSubstr("<         expert 0 0.750\n"));
  EXPECT_THAT(text, HasSubstr("\\n             no expert\n"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_THAT(text_of(path, two_experts(), true), HasSubstr("\033[31m    expert 0 0.750\033[0m"));
}

TEST(RoutingPage, EscapesTextAndNames) {
  const SentencePath path{"<script>&", {std::vector<PathStep>(9, PathStep{1, 0.5})}};
  std::vector<LayerView> layers = two_experts();
  layers[0].census.domains = {10, 2, 1, 3};
  const std::string page = page_text("<i>", routing_sections(layers, names, path));
  EXPECT_THAT(page, HasSubstr(">&lt;<small>1</small></span>"));
  EXPECT_THAT(page, HasSubstr(">&amp;<small>"));
  EXPECT_THAT(page, HasSubstr("&lt;b&gt; x1.21 (10)"));
  EXPECT_THAT(page, HasSubstr("title=\"expert 1, gate 0.500\""));
  for (const char* raw : {"<<", "<b>", "<i>", "<script", "&<"}) EXPECT_THAT(page, Not(HasSubstr(raw)));
  EXPECT_THAT(page_text("", routing_sections(layers, names, {})), Not(HasSubstr("class=\"path\"")));
}

}  // namespace
}  // namespace conclave::apps
