// SPDX-License-Identifier: BSD-3-Clause
// Reports: what a log says is what the report says, thinned or not, and a page that trusts no text.
#include "apps/run_report.hpp"
#include "apps/scaling_report.hpp"
#include "runtime/core/error.hpp"
#include "runtime/train/hdf5.hpp"
#include "tests/train/run_log_fixture.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>
#include <regex>
#include <set>

namespace conclave::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

Index count(const std::string& text, const std::string& part) {
  Index result = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++result;
  return result;
}

void write_run(const std::string& folder, Index steps, const train::LogShape& shape = {},
               const train::RunLog::Texts& config = {{"steps", "40"}}) {
  train::RunLog log(folder, 0, config, {{"ranks", "3"}, {"cpu", "some <cpu>"}}, 1e9);
  for (Index step = 1; step <= steps; ++step) train::append(log, step, shape);
  log.flush();
}

TEST(RecordedRun, TellsEveryStepOfAShortRun) {
  const train::TemporaryFolder folder;
  write_run(folder.path(), 9);
  const RecordedRun run = recorded_run(folder.path());
  ASSERT_EQ(run.steps.at.size(), 9U);
  EXPECT_EQ(run.steps.rows_a_bucket, 1);
  EXPECT_EQ(run.skipped, 1) << "step 3";
  Index tokens = 0;
  for (Index step = 1; step <= 9; ++step) {
    const train::StepRecord record = train::some_step(step);
    const auto b = static_cast<std::size_t>(step - 1);
    EXPECT_EQ(run.steps.at[b], static_cast<double>(step));
    if (!record.skipped.empty()) {
      EXPECT_TRUE(std::isnan(run.steps.numbers.at("loss").mean[b])) << step;
      EXPECT_TRUE(std::isnan(run.relative_load(0, 0, step - 1))) << step;
      continue;
    }
    tokens += record.tokens;
    EXPECT_EQ(run.steps.numbers.at("loss").mean[b], record.loss) << step;
    EXPECT_EQ(run.steps.numbers.at("gradient_norm").most[b], record.gradient_norm) << step;
    EXPECT_EQ(run.entropy[1].mean[b], record.layers[1].entropy) << step;
    EXPECT_EQ(run.phase_s[2].mean[b], record.phases[2].mean_s) << step;
    const auto& load = record.layers[2].load;
    const auto sum = static_cast<double>(std::accumulate(load.begin(), load.end(), Index{0}));
    EXPECT_NEAR(run.relative_load(2, 4, step - 1), static_cast<double>(load[4]) * 5.0 / sum, 1e-12) << step;
  }
  EXPECT_EQ(run.tokens, tokens);
  EXPECT_EQ(run.last_loss, train::some_step(9).loss);
  EXPECT_EQ(run.best_evaluation, std::min(train::some_evaluation(4).loss, train::some_evaluation(8).loss));
  ASSERT_EQ(run.domain_information.size(), 3U);
  EXPECT_EQ(run.domain_information[2].mean[1], train::some_evaluation(8).domain_information[2]);
  EXPECT_EQ(run.ranks(), 3);
}

TEST(RecordedRun, ThinsALongRun) {
  const train::TemporaryFolder folder;
  write_run(folder.path(), 1030, {.layers = 1, .experts = 2});
  const RecordedRun run = recorded_run(folder.path());
  ASSERT_EQ(std::ssize(run.steps.at), most_buckets);
  EXPECT_EQ(run.steps.rows_a_bucket, 6);
  const Range steps = even_share(1030, most_buckets, 50);
  double sum = 0.0;
  double least = HUGE_VAL;
  double most = -HUGE_VAL;
  Index count = 0;
  for (Index step = steps.begin + 1; step <= steps.end; ++step) {
    const train::StepRecord record = train::some_step(step, {.layers = 1, .experts = 2});
    if (!record.skipped.empty()) continue;
    sum += record.loss;
    ++count;
    least = std::min(least, record.loss);
    most = std::max(most, record.loss);
  }
  ASSERT_GT(count, 1);
  EXPECT_NEAR(run.steps.numbers.at("loss").mean[50], sum / static_cast<double>(count), 1e-12);
  EXPECT_EQ(run.steps.numbers.at("loss").least[50], least);
  EXPECT_EQ(run.steps.numbers.at("loss").most[50], most);
}

TEST(RecordedRun, TellsStartsAndCheckpoints) {
  const train::TemporaryFolder folder;
  write_run(folder.path(), 8);
  {
    train::RunLog log(folder.path(), 6, {}, {{"ranks", "2"}});
    log.append(train::some_step(7));
    log.append(train::SavedCheckpoint{7, 0.5});
  }
  folder.write("step-00000004.h5", "");
  const RecordedRun run = recorded_run(folder.path());
  ASSERT_EQ(run.starts.size(), 2U);
  EXPECT_EQ(run.starts[1].step, 6);
  EXPECT_EQ(run.starts[1].ranks, 2);
  EXPECT_EQ(run.saves, (std::vector<Index>{4, 7}));
  const std::string page = page_text("t", run_sections(std::vector{run}));
  EXPECT_THAT(page, HasSubstr(">restart<"));
  EXPECT_THAT(page, HasSubstr(">checkpoint<"));
  EXPECT_THAT(page, HasSubstr("2: after step 0 on 3 ranks; after step 6 on 2 ranks"));
}

// Of the last steps between the same places.
TEST(RecordedRun, TellsTheTrafficBetweenRanks) {
  const train::TemporaryFolder folder;
  {
    train::RunLog log(folder.path(), 0, {}, {});
    for (Index step = 1; step <= 10; ++step) train::append(log, step);
    log.append(train::TrafficRecord{.step = 4, .steps = 4, .ranks = 1, .row_bytes = 8, .rows = {100}});
    log.append(train::TrafficRecord{.step = 7, .steps = 3, .ranks = 2, .row_bytes = 8, .rows = {0, 8, 1, 2}});
    log.append(train::TrafficRecord{.step = 10, .steps = 1, .ranks = 2, .row_bytes = 8, .rows = {4, 0, 3, 2}});
  }
  const RecordedRun run = recorded_run(folder.path());
  ASSERT_TRUE(run.traffic);
  EXPECT_EQ(run.traffic->steps, 4);
  EXPECT_EQ(run.traffic->first_step, 5);
  EXPECT_EQ(run.traffic->last_step, 10);
  EXPECT_EQ(run.traffic->rows, (std::vector<double>{1, 2, 1, 1}));
  EXPECT_EQ(run.traffic->all_rows(), 5.0);
  EXPECT_EQ(run.traffic->rows_away(), 3.0);
  EXPECT_EQ(run.traffic->bytes_away(), 3.0 * 8.0 * 4.0) << "there and back, twice";
  write_run(folder.path("without"), 3);
  const RecordedRun without = recorded_run(folder.path("without"));
  EXPECT_FALSE(without.traffic);
  const std::string page = page_text("t", run_sections(std::vector{run, without}));
  EXPECT_THAT(page, HasSubstr("<title>Rows from rank to rank: "));
  EXPECT_THAT(page, HasSubstr("4 steps, to step 10, between 2 ranks"));
  EXPECT_THAT(page, HasSubstr(">60.0 %<"));
  EXPECT_THAT(page, HasSubstr(">not recorded<"));
  EXPECT_THAT(page_text("t", run_sections(std::vector{without})), Not(HasSubstr("<h2>Traffic")));
}

// Skipped steps do not count.
TEST(RecordedRun, TellsForWhomRanksWaited) {
  const train::TemporaryFolder folder;
  {
    train::RunLog log(folder.path(), 0, {}, {});
    for (Index step = 1; step <= 9; ++step) {
      train::StepRecord record = train::some_step(step);
      record.seconds = 2.0;
      record.attribution.slowest = RankId{step == 9 ? 0 : 1};
      record.attribution.slowest_stretch = step == 9 ? train::stretch_of_own(1) : train::stretch_of_experts(2);
      record.attribution.slowest_expert = step == 9 ? std::nullopt : std::optional(ExpertId{3});
      record.attribution.waited_s = step == 5 ? 0.62 : 0.1;
      record.layers[2].load = step == 5 ? std::vector<Index>{1, 1, 1, 16, 1} : std::vector<Index>{1, 1, 1, 2, 0};
      log.append(record);
    }
  }
  const RecordedRun run = recorded_run(folder.path());
  ASSERT_EQ(run.skipped, 1);
  ASSERT_EQ(run.waiting.culprits.size(), 2U);
  EXPECT_EQ(run.waiting.seconds, 16.0);
  const Culprit& worst = run.waiting.culprits[0];
  EXPECT_EQ(worst.steps, 7);
  EXPECT_NEAR(worst.waited_s, 0.62 + 6 * 0.1, 1e-12);
  EXPECT_NEAR(worst.load, (4.0 + 6 * 2.0) / 7.0, 1e-12);
  EXPECT_EQ(worst_of(worst), "31 % of step 5 waited for rank 1: expert 3 of MoE layer 2 had 4.0 times the mean load");
  EXPECT_EQ(work_of(run.waiting.culprits[1]), "its own tokens in MoE layer 1");
  ASSERT_EQ(run.waiting.step_s.size(), 4U);
  EXPECT_EQ(run.waiting.step_s[1].mean[0], train::some_step(1).attribution.exposed_s);
  EXPECT_EQ(run.waiting.layer_s[3 * 3 + 2].mean[1], train::some_step(2).attribution.layers[3].imbalance_s);
  const std::string page = page_text("t", run_sections(std::vector{run}));
  EXPECT_THAT(page, HasSubstr(">7.6 %<"));
  EXPECT_THAT(page, HasSubstr("31 % of step 5 waited for rank 1"));
  EXPECT_THAT(page, Not(HasSubstr("waited for rank 0"))) << "for 0.6 % of the time";
  EXPECT_THAT(page, HasSubstr("<title>The same by layer</title>"));
}

std::string page_of(const std::vector<RecordedRun>& runs) { return page_text("title", run_sections(runs)); }

TEST(Report, IsWholeForRunsOfEverySize) {
  const train::TemporaryFolder folder;
  const train::LogShape dense{.layers = 0, .experts = 0, .domains = false};
  const train::LogShape classes{.layers = 2, .experts = 70, .domains = false, .classes = 3};
  write_run(folder.path("none"), 0);
  write_run(folder.path("one"), 1);
  write_run(folder.path("dense"), 5, dense);
  write_run(folder.path("classes"), 8, classes);
  const auto run = [&](const char* name) { return recorded_run(folder.path(name)); };
  EXPECT_THAT(page_of({run("none")}), HasSubstr("No step has been logged yet"));
  EXPECT_THAT(page_of({run("one")}), HasSubstr("<title>Loss</title>"));
  EXPECT_THAT(page_of({run("dense")}), HasSubstr("No MoE layers are recorded"));
  EXPECT_THAT(page_of({run("classes")}), HasSubstr("Accuracy on held-out samples"));
  EXPECT_THAT(page_of({run("classes")}), HasSubstr("70 experts: a row is the mean of 2 neighbours or fewer"));
  const std::string all = page_of({run("none"), run("one"), run("dense"), run("classes")});
  for (const std::string& page : {all, page_of({run("one")})}) {
    EXPECT_THAT(page, Not(HasSubstr("nan")));
    EXPECT_THAT(page, Not(HasSubstr("inf")));
    EXPECT_EQ(count(page, "<svg "), count(page, "</svg>"));
    EXPECT_GT(count(page, "<svg "), 4);
  }
}

TEST(Report, ComparesOptions) {
  const train::TemporaryFolder folder;
  write_run(folder.path("a"), 3, {}, {{"seed", "1"}, {"width", "8"}, {"old", "x"}});
  write_run(folder.path("b"), 3, {}, {{"seed", "2"}, {"width", "8"}});
  const std::vector<RecordedRun> runs{recorded_run(folder.path("a")), recorded_run(folder.path("b"))};
  const PageTable table = run_sections(runs).at(1).tables.at(0);
  EXPECT_EQ(table.heads, (std::vector<std::string>{"option", "a", "b"}));
  EXPECT_EQ(table.rows, (std::vector<std::vector<std::string>>{{"old", "x", "(no such option)"}, {"seed", "1", "2"}}));
  EXPECT_THAT(page_of({runs[0], runs[0]}), HasSubstr("Nothing: all options have the same values"));
}

TEST(Report, KeepsNamesApart) {
  const auto names = [](const std::vector<std::string>& folders) {
    std::vector<RecordedRun> runs;
    for (const std::string& folder : folders) runs.push_back({.name = folder});
    return short_names(runs);
  };
  EXPECT_EQ(names({"runs/a/", "runs/b"}), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(names({"x/a", "y/a"}), (std::vector<std::string>{"x/a", "y/a"}));
  EXPECT_EQ(names({"a", "a"}), (std::vector<std::string>{"a", "a (2)"}));
  EXPECT_EQ(names({"."}), std::vector<std::string>{"."});
  EXPECT_EQ(names({std::string(100, 'n')}), std::vector<std::string>{"..." + std::string(40, 'n')});
}

// Whatever a run is called and says of itself, the page has no elements but its own, and asks for nothing.
TEST(Report, TrustsNoText) {
  const train::TemporaryFolder folder;
  const std::string hostile = "<script src=\"http://evil\">alert(1)</script>\" onload='x' <img>";
  const std::string name = folder.path("</title><script>alert(2)<");
  write_run(name, 12, {}, {{"data", hostile}, {"router", "<b>&amp;</b>"}, {hostile, "1"}, {"steps", "\x01\xFF"}});
  write_run(folder.path("b"), 12);
  const std::vector<RecordedRun> runs{recorded_run(name), recorded_run(folder.path("b"))};
  for (const std::string& page : {page_of(runs), page_of({runs[0]})}) {
    EXPECT_THAT(page, HasSubstr("&lt;script"));
    EXPECT_THAT(page, Not(HasSubstr("<script")));
    EXPECT_THAT(page, Not(HasSubstr("<img")));
    EXPECT_EQ(count(page, "</title>"), count(page, "<title>"));
    EXPECT_THAT(page, Not(HasSubstr("\x01")));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
    const std::regex element("<([a-zA-Z0-9]+)");
    const std::set<std::string> known{"html", "head",   "meta",       "title",  "style", "body",  "h1",
                                      "h2",   "p",      "div",        "table",  "thead", "tbody", "tr",
                                      "th",   "td",     "svg",        "rect",   "path",  "text",  "circle",
                                      "g",    "figure", "figcaption", "DOCTYPE"};
    for (std::sregex_iterator at(page.begin(), page.end(), element); at != std::sregex_iterator(); ++at) {
      EXPECT_TRUE(known.contains((*at)[1])) << (*at)[1];
    }
    EXPECT_EQ(count(page, "http"),
              count(page, "http://www.w3.org/2000/svg") + count(page, "http-equiv") + count(page, "http://evil&quot;"));
  }
}

TEST(Report, RefusesWhatIsNoLog) {
  const train::TemporaryFolder folder;
  EXPECT_THROW(static_cast<void>(recorded_run(folder.path("nowhere"))), InputError);
  folder.write("text/run.h5", "this is no HDF5 file");
  EXPECT_THROW(static_cast<void>(recorded_run(folder.path("text"))), InputError);
  std::filesystem::create_directories(folder.path("empty"));
  train::Hdf5File::create(folder.path("empty/run.h5")).close();
  EXPECT_THROW(static_cast<void>(recorded_run(folder.path("empty"))), InputError);
  write_run(folder.path("cut"), 9);
  const std::string whole = test::content_of(folder.path("cut/run.h5"));
  test::write_content(folder.path("cut/run.h5"), whole.substr(0, whole.size() / 2));
  EXPECT_THROW(static_cast<void>(recorded_run(folder.path("cut"))), InputError);
}

TEST(Report, RefusesTablesThatNoRunWrites) {
  const train::TemporaryFolder folder;
  const auto forged = [&](const std::string& name, const std::function<void(train::Hdf5File&)>& change) {
    std::filesystem::create_directories(folder.path(name));
    train::Hdf5File file = train::Hdf5File::create(folder.path(name + "/run.h5"));
    file.create_group("/config");
    file.write<Index>("/steps/step", {2}, std::vector<Index>{1, 2});
    file.write<Index>("/steps/tokens", {2}, std::vector<Index>{8, 8});
    file.write<double>("/steps/loss", {2}, std::vector<double>{2, 1});
    file.write_attribute<std::string>("/steps/loss", "unit", "nats/token");
    change(file);
    file.close();
    return folder.path(name);
  };
  const auto seconds = [](train::Hdf5File& file) {
    file.write<double>("/steps/seconds", {2}, std::vector<double>{1, 1});
  };
  EXPECT_EQ(recorded_run(forged("good", seconds)).tokens, 16);
  const auto refused = [&](const std::string& name, const std::function<void(train::Hdf5File&)>& change) {
    EXPECT_THROW(static_cast<void>(recorded_run(forged(name, change))), InputError) << name;
  };
  refused("no seconds", [](train::Hdf5File&) {});
  refused("short", [](train::Hdf5File& f) { f.write<double>("/steps/seconds", {1}, std::vector<double>{1}); });
  refused("skipped", [&](train::Hdf5File& f) {
    seconds(f);
    f.write<Index>("/steps/skipped", {3}, std::vector<Index>{0, 0, 0});
  });
  refused("wide", [&](train::Hdf5File& f) {
    seconds(f);
    f.write<double>("/steps/gradient_norm", {2, 2}, std::vector<double>{1, 2, 3, 4});
  });
  refused("load", [&](train::Hdf5File& f) {
    seconds(f);
    f.write<Index>("/steps/load", {2, 2}, std::vector<Index>{1, 2, 3, 4});
  });
  const auto traffic = [&](train::Hdf5File& f, Index ranks, Index to, Index steps) {
    seconds(f);
    for (const auto& [name, value] : {std::pair{"step", Index{2}},
                                      {"steps", steps},
                                      {"ranks", ranks},
                                      {"nodes", 0},
                                      {"row_bytes", 4},
                                      {"from", 0},
                                      {"to", to},
                                      {"rows", 5}}) {
      f.write<Index>(std::string("/traffic/") + name, {1}, std::vector<Index>{value});
    }
  };
  EXPECT_TRUE(recorded_run(forged("traffic", [&](train::Hdf5File& f) { traffic(f, 2, 1, 2); })).traffic);
  refused("too many ranks", [&](train::Hdf5File& f) { traffic(f, Index{1} << 40, 1, 2); });
  refused("no ranks", [&](train::Hdf5File& f) { traffic(f, 0, 0, 2); });
  refused("to nobody", [&](train::Hdf5File& f) { traffic(f, 2, 2, 2); });
  refused("no steps", [&](train::Hdf5File& f) { traffic(f, 2, 1, 0); });
  const auto waiting = [&](train::Hdf5File& f, Index stretch, Index expert) {
    seconds(f);
    f.write<Index>("/steps/load", {2, 1, 2}, std::vector<Index>{1, 2, 3, 4});
    f.write<double>("/steps/waited_s", {2}, std::vector<double>{0, 0.5});
    f.write<Index>("/steps/slowest_rank", {2}, std::vector<Index>{0, 1});
    f.write<Index>("/steps/slowest_stretch", {2}, std::vector<Index>{0, stretch});
    f.write<Index>("/steps/slowest_expert", {2}, std::vector<Index>{-1, expert});
  };
  const std::string waits = forged("waiting", [&](train::Hdf5File& f) { waiting(f, 3, 1); });
  EXPECT_EQ(recorded_run(waits).waiting.culprits.size(), 1U);
  refused("an expert too many", [&](train::Hdf5File& f) { waiting(f, 3, 2); });
  refused("no such stretch", [&](train::Hdf5File& f) { waiting(f, 5, 1); });
  refused("an expert of no layer", [&](train::Hdf5File& f) { waiting(f, 1, 1); });
  refused("phases", [&](train::Hdf5File& f) {
    seconds(f);
    f.write<double>("/steps/phases", {2, 1, 3}, std::vector<double>{1, 2, 3, 4, 5, 6});
    f.write_attribute<std::string>("/steps/phases", "phases", "data,head");
  });
}

constexpr const char* points =
    "{\"settings\":{\"width\":\"8\"}}\n"
    "{\"begins\":{\"kind\":\"strong\",\"ranks\":1}}\n"
    "{\"point\":{\"kind\":\"strong\",\"ranks\":1},\"tokens\":64,\"layer\":{\"seconds\":[0.5,0.25,0.3],\"calls\":1},"
    "\"bare\":{\"seconds\":[0.2],\"calls\":1}}\n"
    "{\"point\":{\"kind\":\"weak\",\"ranks\":2},\"tokens\":128,\"layer\":{\"seconds\":[0.4],\"calls\":1},"
    "\"bare\":{\"seconds\":[0.2],\"calls\":1}}\n"
    "{\"point\":{\"kind\":\"strong\",\"ranks\":2},\"tokens\":64,\"layer\":{\"seconds\":[0.2],\"calls\":1},"
    "\"bare\":{\"seconds\":[0.1],\"calls\":1}}\n"
    "{\"point\":{\"kind\":\"strong\",\"ra";

TEST(ScalingReport, ReadsEveryFormOfAStudy) {
  const train::TemporaryFolder folder;
  folder.write("study/points.jsonl", points);
  folder.write("s.json",
               R"({"measurement": "scaling", "results": [
        {"name": "strong, 1 ranks", "median_s": 0.3, "rate": 213.33333333333334, "floors": {"bare GEMMs": {"median_s": 0.2}}},
        {"name": "strong, 2 ranks", "median_s": 0.2, "rate": 320, "floors": {"bare GEMMs": {"median_s": 0.1}}},
        {"name": "weak, 2 ranks", "median_s": 0.4, "rate": 320, "floors": {"bare GEMMs": {"median_s": 0.2}}}]})");
  folder.write(
      "s.csv",
      "kind,ranks,tokens,min_s,median_s,max_s,gemm_floor_s,speed_up,efficiency\n"
      "strong,1,64,0.25,0.3,0.5,0.2,1,1\nstrong,2,64,0.2,0.2,0.2,0.1,1.5,0.75\nweak,2,128,0.4,0.4,0.4,0.2,2,1\n");
  for (const char* name : {"study", "study/points.jsonl", "s.json", "s.csv"}) {
    const std::optional<StudyOfScaling> study = study_of_scaling(folder.path(name));
    ASSERT_TRUE(study) << name;
    const PageSection section = scaling_section(*study, 0);
    EXPECT_EQ(section.tables.at(0).rows,
              (std::vector<std::vector<std::string>>{{"strong", "1", "64", "300.000", "200.000", "1.00", "1.00"},
                                                     {"strong", "2", "64", "200.000", "100.000", "1.50", "0.75"},
                                                     {"weak", "2", "128", "400.000", "200.000", "2.00", "1.00"}}))
        << name;
    EXPECT_EQ(section.pictures.size(), 4U) << name;
    EXPECT_THAT(section.pictures[0].svg, HasSubstr(">ideal<"));
  }
}

TEST(ScalingReport, RefusesWhatIsNoStudy) {
  const train::TemporaryFolder folder;
  EXPECT_FALSE(study_of_scaling(folder.path())) << "a folder of nothing";
  EXPECT_FALSE(study_of_scaling(folder.path("none.csv")));
  folder.write("run.txt", "x");
  EXPECT_FALSE(study_of_scaling(folder.path("run.txt")));
  const std::string head = "kind,ranks,tokens,min_s,median_s,max_s,gemm_floor_s,speed_up,efficiency\n";
  const std::vector<std::pair<std::string, std::string>> bad{
      {"a.csv", "a,b\n1,2\n"},
      {"b.csv", head},
      {"c.csv", head + "strong,1,64,0.1,x,0.1,0.1\n"},
      {"d.csv", head + "fast,1,64,0.1,0.1,0.1,0.1\n"},
      {"e.csv", head + "strong,0,64,0.1,0.1,0.1,0.1\n"},
      {"f.csv", head + "strong,1,64,0.1,-0.1,0.1,0.1\n"},
      {"g.csv", head + "strong,1,64,0.1,nan,0.1,0.1\n"},
      {"a.json", "{"},
      {"b.json", "[]"},
      {"c.json", "{\"results\": [{\"name\": \"gemm\", \"median_s\": 1}]}"},
      {"d.json", "{\"results\": []}"},
      {"a.jsonl", "{\"point\":{}}\n"},
      {"b.jsonl", "no JSON\n"},
      {"c.jsonl",
       "{\"point\":{\"kind\":\"strong\",\"ranks\":1},\"tokens\":64,\"layer\":{\"seconds\":[],\"calls\":1},"
       "\"bare\":{\"seconds\":[1],\"calls\":1}}\n"}};
  for (const auto& [name, text] : bad) {
    folder.write(name, text);
    EXPECT_THROW(static_cast<void>(study_of_scaling(folder.path(name))), InputError) << name;
  }
}

TEST(ScalingReport, HoldsPredictionsAgainstRuns) {
  const train::TemporaryFolder folder;
  folder.write("run.json", R"({"simulation": "run", "tokens": 96, "points": [
      {"ranks": 4, "step_s": 0.5, "low_s": 0.4, "high_s": 0.6, "exposed_s": 0.1, "imbalance_s": 0.05},
      {"ranks": 2, "step_s": 0.9, "low_s": 0.8, "high_s": 1.0, "exposed_s": 0.1, "imbalance_s": -1e-17}]})");
  const Predictions predictions = read_predictions(folder.path("run.json"));
  ASSERT_EQ(predictions.points.size(), 2U);
  EXPECT_EQ(predictions.points[0].ranks, 2) << "by ranks";
  RecordedRun alike{.name = "alike", .record = {{"ranks", "4"}}, .median_step_s = 0.4, .tokens_a_step = 96};
  RecordedRun other{.name = "other", .record = {{"ranks", "4"}}, .median_step_s = 0.1, .tokens_a_step = 97};
  const PageSection section = prediction_section(predictions, std::vector{alike, other}, 0);
  EXPECT_EQ(section.tables.at(0).rows.at(1), (std::vector<std::string>{"4", "500.000", "400.000", "+25.0 %"}));
  EXPECT_EQ(section.tables.at(0).rows.at(0), (std::vector<std::string>{"2", "900.000", "", ""}));
  EXPECT_THAT(section.paragraphs.at(0), HasSubstr("other (97 tokens a step)"));
  EXPECT_EQ(section.pictures.size(), 2U);

  folder.write("validate.json", R"({"simulation": "validate", "runs": [
      {"run": "<r>", "ranks": 2, "held_out": true, "measured_s": 0.5, "predicted_s": 0.4}]})");
  const PageSection validated = prediction_section(read_predictions(folder.path("validate.json")), {}, 1);
  EXPECT_EQ(validated.tables.at(0).rows.at(0), (std::vector<std::string>{"<r>", "2", "500.000", "400.000", "-20.0 %"}));
  EXPECT_EQ(validated.pictures.size(), 1U);
  for (const char* bad :
       {"", "{}", "{\"simulation\": \"step\"}", "{\"simulation\": \"run\", \"points\": []}",
        "{\"simulation\": \"run\", \"tokens\": 4, \"points\": [{\"ranks\": 0, \"step_s\": 1}]}",
        "{\"simulation\": \"validate\", \"runs\": [{\"run\": \"r\", \"ranks\": 2, \"held_out\": true, "
        "\"measured_s\": 0, \"predicted_s\": 1}]}"}) {
    folder.write("bad.json", bad);
    EXPECT_THROW(static_cast<void>(read_predictions(folder.path("bad.json"))), InputError) << bad;
  }
}

}  // namespace
}  // namespace conclave::apps
