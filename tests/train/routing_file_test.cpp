// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/routing_file.hpp"

#include "runtime/core/error.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

const gating::RoutingSizes sizes{2, 3, 4, 8, 2};

gating::RoutingStep some_step(Index number) {
  gating::RoutingStep step{number, std::vector<Index>(12), std::vector<Index>(12)};
  for (std::size_t i = 0; i < 12; ++i) {
    step.claimed[i] = static_cast<Index>(i) + number;
    step.kept[i] = static_cast<Index>(i);
  }
  return step;
}

std::string refusal(const std::filesystem::path& path) {
  try {
    static_cast<void>(read_routing(path));
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "none";
}

TEST(RoutingFile, IsReadBackAsItWasWritten) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path("routing.jsonl");
  {
    RoutingFile file(path, sizes, 0);
    file.append(some_step(1));
    file.append(some_step(3));
    file.flush();
    file.append(some_step(4));
  }
  const gating::RoutingTrace trace = read_routing(path);
  EXPECT_EQ(trace.sizes, sizes);
  EXPECT_EQ(trace.steps, (std::vector<gating::RoutingStep>{some_step(1), some_step(3)})) << "what was flushed";
}

TEST(RoutingFile, GoesOnWhereARunDoes) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path("routing.jsonl");
  const auto write = [&](Index first_step, Index from, Index to) {
    RoutingFile file(path, sizes, first_step);
    for (Index step = from; step <= to; ++step) file.append(some_step(step));
    file.flush();
  };
  write(0, 1, 5);
  write(3, 4, 6);
  const std::string resumed = test::content_of(path);
  write(0, 1, 6);
  EXPECT_EQ(resumed, test::content_of(path)) << "cut and resumed, or in one piece";
  RoutingFile file(path, sizes, 6);
  file.append(some_step(7));
  file.go_back(2);
  file.append(some_step(4));
  file.flush();
  ASSERT_EQ(read_routing(path).steps.size(), 3U);
  EXPECT_EQ(read_routing(path).steps[2], some_step(4));
}

TEST(RoutingFile, WritesOverNothingElse) {
  const TemporaryFolder folder;
  folder.write("notes.txt", "my notes\n");
  EXPECT_THROW(static_cast<void>(RoutingFile(folder.path("notes.txt"), sizes, 0)), InputError);
  const std::filesystem::path path = folder.path("routing.jsonl");
  {
    RoutingFile file(path, sizes, 0);
    file.flush();
  }
  EXPECT_THROW(static_cast<void>(RoutingFile(path, gating::RoutingSizes{2, 4, 4, 8, 2}, 0)), InputError);
  folder.write("cut.jsonl", test::content_of(path).substr(0, 20));  // its writer was killed
  RoutingFile file(folder.path("cut.jsonl"), sizes, 0);
  file.append(some_step(1));
  file.flush();
  EXPECT_EQ(read_routing(folder.path("cut.jsonl")).steps.size(), 1U);
}

TEST(RoutingFile, NamesTheLineThatIsNone) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path("routing.jsonl");
  {
    RoutingFile file(path, sizes, 0);
    for (Index step = 1; step <= 2; ++step) file.append(some_step(step));
    file.flush();
  }
  const std::string good = test::content_of(path);
  const auto changed = [&](std::string_view what, std::string_view to) {
    std::string text = good;
    text.replace(text.find(what), what.size(), to);
    folder.write("changed.jsonl", text);
    return refusal(folder.path("changed.jsonl"));
  };
  EXPECT_NE(changed("\"layers\":2", "\"layers\":0").find("line 1: "), std::string::npos);
  EXPECT_NE(changed("\"routing_trace\":1", "\"routing_trace\":9").find("no routing trace of version 1"),
            std::string::npos);
  EXPECT_NE(changed("\"step\":2", "\"step\":1").find("line 3: step 1 after step 1"), std::string::npos);
  EXPECT_NE(changed("[1,2,", "[1,-2,").find("line 2: "), std::string::npos);
  EXPECT_NE(changed("[1,2,", "[1,").find("line 2: "), std::string::npos);
  EXPECT_NE(changed("[1,2,", "[1,0.5,").find("line 2: 'claimed' has 0.5"), std::string::npos);
  folder.write("empty", "");
  EXPECT_NE(refusal(folder.path("empty")), "none");
  folder.write("short", good.substr(0, good.size() - 5));
  EXPECT_EQ(read_routing(folder.path("short")).steps.size(), 1U) << "a killed writer leaves whole steps";
}

}  // namespace
}  // namespace conclave::train
