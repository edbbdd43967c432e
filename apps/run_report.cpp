// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_report.hpp"

#include "apps/progress.hpp"
#include "apps/run_pictures.hpp"
#include "apps/traffic_pictures.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

namespace conclave::apps {
namespace {

using Texts = std::map<std::string, std::string>;

std::string value_of(const Texts& texts, const std::string& name, const std::string& otherwise = "not recorded") {
  const auto found = texts.find(name);
  return found == texts.end() ? otherwise : found->second;
}

std::string model_text(const Texts& config) {
  const auto value = [&](const char* name) { return value_of(config, name, "?"); };
  std::string text = fmt::format("{} layers of width {}", value("layers"), value("width"));
  if (value("moe_every") == "0") return text + ", dense";
  return text + fmt::format("; {} experts, top-{}, router {}", value("experts"), value("top_k"), value("router"));
}

std::string loss_text(const std::optional<double>& loss, const std::string& unit) {
  return loss ? fmt::format("{:.4f} {}", *loss, unit) : "none yet";
}

std::string starts_text(const RecordedRun& run) {
  if (run.starts.empty()) return run.steps.rows == 0 ? "none yet" : "not recorded";
  constexpr std::size_t most_named = 8;
  std::string text = fmt::format("{}: ", run.starts.size());
  for (std::size_t i = 0; i < std::min(most_named, run.starts.size()); ++i) {
    const train::RunStart& start = run.starts[i];
    const std::string ranks = start.ranks > 0 ? fmt::format(" on {} ranks", start.ranks) : "";
    text += fmt::format("{}after step {}{}", i == 0 ? "" : "; ", start.step, ranks);
  }
  return text + (run.starts.size() > most_named ? "; ..." : "");
}

std::string saves_text(const RecordedRun& run) {
  return run.saves.empty() ? "none" : fmt::format("{}, the last of step {}", run.saves.size(), run.saves.back());
}

std::string speed_text(const RecordedRun& run) {
  if (run.seconds <= 0.0) return "none yet";
  return fmt::format("{:.0f} tokens/s", static_cast<double>(run.tokens) / run.seconds);
}

std::string test_text(const RecordedRun& run) {
  const auto loss = run.tests.numbers.find("loss");
  const auto accuracy = run.tests.numbers.find("accuracy");
  if (loss == run.tests.numbers.end() || loss->second.mean.empty() || accuracy == run.tests.numbers.end())
    return "none";
  return fmt::format("loss {:.4f} {}, accuracy {:.1f} %", loss->second.mean.back(), run.loss_unit,
                     100.0 * accuracy->second.mean.back());
}

// A row for each fact, a column for each run.
PageTable facts(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  PageTable table{{""}, {}};
  table.heads.insert(table.heads.end(), names.begin(), names.end());
  const auto add = [&](const std::string& name, const auto& of) {
    std::vector<std::string> row{name};
    for (const RecordedRun& run : runs) row.push_back(of(run));
    // Not what none of them has.
    if (std::any_of(row.begin() + 1, row.end(), [](const std::string& text) { return text != "none"; })) {
      table.rows.push_back(std::move(row));
    }
  };
  add("folder", [](const RecordedRun& r) { return r.name; });
  add("model", [](const RecordedRun& r) { return model_text(r.config); });
  add("data", [](const RecordedRun& r) {
    const std::string data = value_of(r.config, "data", "");
    return data.empty() ? std::string("embedded corpus") : data;
  });
  add("ranks", [](const RecordedRun& r) {
    return fmt::format("{} (nodes: {}, threads a rank: {})", value_of(r.record, "ranks", "?"),
                       value_of(r.record, "nodes", "?"), value_of(r.record, "threads_per_rank", "?"));
  });
  add("machine", [](const RecordedRun& r) { return value_of(r.record, "cpu"); });
  add("program", [](const RecordedRun& r) { return value_of(r.record, "binary"); });
  add("MPI", [](const RecordedRun& r) { return value_of(r.record, "mpi_library"); });
  add("steps",
      [](const RecordedRun& r) { return fmt::format("{} of {}", r.last_step, value_of(r.config, "steps", "?")); });
  add("tokens", [](const RecordedRun& r) { return fmt::format("{}", r.tokens); });
  add("time in steps", [](const RecordedRun& r) { return time_text(r.seconds); });
  add("speed, mean", speed_text);
  add("last loss", [](const RecordedRun& r) { return loss_text(r.last_loss, r.loss_unit); });
  add("best held-out loss", [](const RecordedRun& r) { return loss_text(r.best_evaluation, r.loss_unit); });
  add("test", test_text);
  add("skipped steps",
      [](const RecordedRun& r) { return r.skipped == 0 ? std::string("none") : fmt::format("{}", r.skipped); });
  add("starts", starts_text);
  add("checkpoints", saves_text);
  return table;
}

// Options in which the runs differ.
PageTable differences(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  PageTable table{{"option"}, {}};
  table.heads.insert(table.heads.end(), names.begin(), names.end());
  std::set<std::string> options;
  for (const RecordedRun& run : runs) {
    for (const auto& [name, value] : run.config) options.insert(name);
  }
  for (const std::string& option : options) {
    std::vector<std::string> row{option};
    for (const RecordedRun& run : runs) row.push_back(value_of(run.config, option, "(no such option)"));
    if (std::any_of(row.begin() + 2, row.end(), [&](const std::string& value) { return value != row[1]; })) {
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

// The ranks that were waited for through a hundredth of the steps' time and more, the first few.
PageSection waiting_section(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  constexpr double least_share = 0.01;
  constexpr Index most_named = 5;
  PageSection section{.heading = "For whom ranks waited"};
  PageTable table{{"of the steps' time", "waited for", "in steps", "at worst"}, {}};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const RecordedWaiting& waiting = runs[r].waiting;
    for (Index i = 0; i < std::min(most_named, std::ssize(waiting.culprits)); ++i) {
      const Culprit& culprit = waiting.culprits[static_cast<std::size_t>(i)];
      const double share = culprit.waited_s / waiting.seconds;
      if (share < least_share) break;
      const std::string of = runs.size() == 1 ? "" : names[r] + ": ";
      table.rows.push_back({fmt::format("{}{:.1f} %", of, 100.0 * share),
                            fmt::format("rank {}: {}", culprit.rank, work_of(culprit)),
                            fmt::format("{}", culprit.steps), worst_of(culprit)});
    }
  }
  if (!table.rows.empty()) {
    section.paragraphs = {"Of each step the rank counts that the others waited for longest, with what it did then."};
    section.tables = {std::move(table)};
  } else {
    section.paragraphs = {"No rank was waited for through a hundredth of the steps' time."};
  }
  return section;
}

PageTable traffic_facts(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  PageTable table{{""}, {}};
  const auto add = [&](const std::string& name, const auto& of) {
    std::vector<std::string> row{name};
    for (const RecordedRun& run : runs) row.push_back(run.traffic ? of(*run.traffic) : "not recorded");
    table.rows.push_back(std::move(row));
  };
  table.heads.insert(table.heads.end(), names.begin(), names.end());
  add("counted", [](const RecordedTraffic& t) {
    const std::string by =
        t.nodes > 0 ? fmt::format("{} nodes of {} ranks", t.nodes, t.ranks) : fmt::format("{} ranks", t.ranks);
    return fmt::format("{} steps, to step {}, between {}", t.steps, t.last_step, by);
  });
  add("rows a step", [](const RecordedTraffic& t) { return fmt::format("{:.1f}", t.all_rows()); });
  add("of them to another place", [](const RecordedTraffic& t) {
    return fmt::format("{:.1f} %", t.all_rows() > 0.0 ? 100.0 * t.rows_away() / t.all_rows() : 0.0);
  });
  add("these, there and back, forward and backward",
      [](const RecordedTraffic& t) { return fmt::format("{:.3f} MiB a step", t.bytes_away() / (1 << 20)); });
  return table;
}

PageSection traffic_section(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  return {.heading = "Traffic",
          .paragraphs = {"Copies of tokens on their way to experts, one way, forward, all MoE layers together: counted "
                         "by every rank from what it sent. An exchange may send copies for several experts of a node "
                         "once, or by way of other ranks."},
          .tables = {traffic_facts(runs, names)},
          .pictures = traffic_pictures(runs, names)};
}

std::string thinning_text(std::span<const RecordedRun> runs) {
  Index most = 0;
  for (const RecordedRun& run : runs) most = std::max(most, run.steps.rows_a_bucket);
  if (most <= 1) return "Every logged step is a point of its own.";
  return fmt::format(
      "Steps are thinned: a point is the mean of up to {} consecutive steps, and the shaded band around a line "
      "goes from the least to the largest of them. Skipped steps and values that are not finite do not count.",
      most);
}

}  // namespace

std::vector<std::string> short_names(std::span<const RecordedRun> runs) {
  constexpr std::size_t longest = 40;
  std::vector<std::string> names;
  for (const RecordedRun& run : runs) {
    const std::filesystem::path path = std::filesystem::path(run.name).lexically_normal();
    names.push_back((path.has_filename() ? path : path.parent_path()).filename().string());
    if (names.back().empty() || names.back() == "." || names.back() == "..") names.back() = run.name;
  }
  const std::vector<std::string> last_words = names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (std::ranges::count(last_words, last_words[i]) > 1) names[i] = runs[i].name;
    // What tells runs apart stands at the end of their names more often than not.
    if (names[i].size() > longest) names[i] = "..." + names[i].substr(names[i].size() - longest);
    for (Index copy = 2; std::find(names.begin(), names.begin() + static_cast<Index>(i), names[i]) !=
                         names.begin() + static_cast<Index>(i);
         ++copy) {
      names[i] = fmt::format("{} ({})", last_words[i].substr(0, longest), copy);
    }
  }
  return names;
}

std::vector<PageSection> run_sections(std::span<const RecordedRun> runs) {
  const std::vector<std::string> names = short_names(runs);
  std::vector<PageSection> sections{
      {.heading = runs.size() == 1 ? "The run" : "The runs", .tables = {facts(runs, names)}}};
  if (runs.size() > 1) {
    PageTable table = differences(runs, names);
    PageSection section{.heading = "What differs in their configurations"};
    if (table.rows.empty()) {
      section.paragraphs = {"Nothing: all options have the same values."};
    } else {
      section.tables = {std::move(table)};
    }
    sections.push_back(std::move(section));
  }
  if (std::ranges::all_of(runs, [](const RecordedRun& r) { return r.steps.rows == 0; })) {
    sections.push_back({.heading = "Steps", .paragraphs = {"No step has been logged yet."}});
    return sections;
  }
  sections.push_back(
      {.heading = "Learning", .paragraphs = {thinning_text(runs)}, .pictures = learning_pictures(runs, names)});
  PageSection routing{.heading = "Routing", .pictures = routing_pictures(runs, names)};
  if (routing.pictures.empty()) routing.paragraphs = {"No MoE layers are recorded."};
  sections.push_back(std::move(routing));
  sections.push_back({.heading = "Speed", .pictures = speed_pictures(runs, names)});
  const auto tells_culprits = [](const RecordedRun& run) { return run.waiting.seconds > 0.0; };
  if (std::ranges::any_of(runs, tells_culprits)) sections.push_back(waiting_section(runs, names));
  const auto has_traffic = [](const RecordedRun& run) { return run.traffic.has_value(); };
  if (std::ranges::any_of(runs, has_traffic)) sections.push_back(traffic_section(runs, names));
  return sections;
}

}  // namespace conclave::apps
