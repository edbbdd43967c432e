// SPDX-License-Identifier: BSD-3-Clause
// The command `report`: runs, studies of scaling and predictions as one HTML page with pictures.
#include "apps/command.hpp"
#include "apps/run_report.hpp"
#include "apps/scaling_report.hpp"
#include "apps/traffic_pictures.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"
#include "runtime/train/routing_file.hpp"

#include <filesystem>
#include <functional>

namespace conclave::apps {
namespace {

struct ReportOptions {
  std::string out = "report.html";
  std::string svg_folder;
  std::vector<std::string> simulated;
  std::string routing;
};

void describe(ReportOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Report");
  table.add("out", o.out, "the page to write; one that is there is replaced");
  table.add("svg_folder", o.svg_folder,
            "a folder to write the pictures into as well, a file each; made if it is missing");
  table.add(
      "simulated", o.simulated,
      "files of predictions to hold against the runs: what simulate run --json or simulate validate --json printed");
  table.add("routing", o.routing,
            "what train --record-routing has kept of the one run that is reported: for the traffic from rank to rank");
}

struct Sources {
  std::vector<RecordedRun> runs;
  std::vector<StudyOfScaling> studies;
  std::vector<Predictions> predictions;
  std::optional<gating::RoutingTrace> routing;
};

// Calls work; an InputError that names no remedy gets this one.
void with_remedy(const std::string& remedy, const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& error) {
    throw InputError(error.what(), error.hint().empty() ? remedy : error.hint());
  }
}

gating::RoutingTrace routing_of(const std::string& file, const std::vector<RecordedRun>& runs) {
  if (runs.size() != 1) {
    throw InputError(fmt::format("routing = {} beside {} runs", file, runs.size()),
                     "a recorded routing is of one run: name that run alone");
  }
  gating::RoutingTrace trace = train::read_routing(file);
  const RecordedRun& run = runs.front();
  const bool fits = !trace.steps.empty() && trace.sizes.layers == run.layers && trace.sizes.experts == run.experts;
  if (fits && run.ranks() >= 1) return trace;
  throw InputError(
      fmt::format("routing: '{}' has {} steps of {} MoE layers of {} experts; '{}' has {} of {}, on {} ranks", file,
                  trace.steps.size(), trace.sizes.layers, trace.sizes.experts, run.name, run.layers, run.experts,
                  run.ranks()),
      "give the file that this run has written with --record-routing");
}

PageSection traffic_section(const RecordedRun& run, const gating::RoutingTrace& routing) {
  const RankTraffic traffic = traffic_between(routing, run.ranks());
  PageSection section{.heading = "Traffic by the recorded routing", .pictures = {traffic_picture(traffic)}};
  section.paragraphs.push_back("Experts are taken to be in even runs over the ranks.");
  if (!traffic.is_exact) {
    section.paragraphs.push_back(
        "The recorded classes of sources are shared by ranks: what each of these sends is taken to be alike.");
  }
  return section;
}

Sources read_sources(const ReportOptions& o, const std::vector<std::string>& arguments) {
  Sources sources;
  for (const std::string& argument : arguments) {
    if (std::filesystem::exists(std::filesystem::path(argument) / "run.h5")) {
      with_remedy("the log is damaged, or was not written by conclave train: leave this run out",
                  [&] { sources.runs.push_back(recorded_run(argument)); });
      continue;
    }
    std::optional<StudyOfScaling> study = study_of_scaling(argument);
    if (!study) {
      throw InputError(
          fmt::format("'{}' is neither the folder of a run, with run.h5, nor a study of scaling", argument),
          "name folders that conclave train or slurm/scaling.sbatch wrote into, or files of conclave bench scaling");
    }
    sources.studies.push_back(std::move(*study));
  }
  if (!o.routing.empty()) sources.routing = routing_of(o.routing, sources.runs);
  for (const std::string& file : o.simulated) sources.predictions.push_back(read_predictions(file));
  if (!sources.runs.empty() || !sources.studies.empty() || !sources.predictions.empty()) return sources;
  throw InputError("report of what?", "name the folders of runs: conclave report RUN... --out report.html");
}

std::vector<PageSection> sections_of(const Sources& sources) {
  std::vector<PageSection> sections;
  if (!sources.runs.empty()) sections = run_sections(sources.runs);
  if (sources.routing) sections.push_back(traffic_section(sources.runs.front(), *sources.routing));
  for (std::size_t i = 0; i < sources.studies.size(); ++i) {
    sections.push_back(scaling_section(sources.studies[i], i));
  }
  for (std::size_t i = 0; i < sources.predictions.size(); ++i) {
    sections.push_back(prediction_section(sources.predictions[i], sources.runs, i));
  }
  return sections;
}

std::string title_of(const Sources& sources) {
  if (sources.runs.empty()) return "Conclave report";
  return fmt::format("Conclave report: {}", fmt::join(short_names(sources.runs), ", "));
}

void write_pictures(const std::filesystem::path& folder, const std::vector<PageSection>& sections) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw InputError(fmt::format("svg_folder: cannot create '{}': {}", folder.string(), error.message()),
                     "check the rights, or name another folder");
  }
  for (const PageSection& section : sections) {
    for (const Picture& picture : section.pictures) {
      train::replace_file(folder / (picture.file + ".svg"), std::string_view(picture.svg));
    }
  }
}

int run(const ReportOptions& o, const Session& session) {
  train::on_root(session.world, [&] {
    const Sources sources = read_sources(o, session.arguments);
    const std::vector<PageSection> sections = sections_of(sources);
    with_remedy("check the folder's rights and free space", [&] {
      train::replace_file(o.out, std::string_view(page_text(title_of(sources), sections)));
      if (!o.svg_folder.empty()) write_pictures(o.svg_folder, sections);
    });
    std::size_t pictures = 0;
    for (const PageSection& section : sections) pictures += section.pictures.size();
    fmt::print("{}: {} pictures of {}\n", o.out, pictures, fmt::join(session.arguments, ", "));
  });
  return 0;
}

}  // namespace

Command report_command() {
  return make_command<ReportOptions>(
      "report", "runs and studies of scaling as one HTML page with pictures, beside one another and beside predictions",
      "RUN...", describe, run);
}

}  // namespace conclave::apps
