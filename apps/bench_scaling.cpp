// SPDX-License-Identifier: BSD-3-Clause
// The measurement `scaling`: one MoE layer on more and more of the ranks that the program was started with, with as
// many tokens in all (strong) and with as many a rank (weak). Ranks that take no part sleep. A study may be cut off and
// go on (scaling_study.hpp).
#include "apps/bench.hpp"
#include "apps/layer_bench.hpp"
#include "apps/line_chart.hpp"
#include "apps/run_record.hpp"
#include "apps/scaling_study.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct ScalingOptions {
  MoeCase layer;
  std::vector<Index> ranks;
  model::TransportOptions transport;
  std::string points;
  bool collect = false;
  std::string csv;
  std::string picture;
  BenchRun run;
};

void describe_scaling(ScalingOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Scaling");
  table.add("ranks", o.ranks,
            "numbers of ranks to measure, rising, up to those of the program; none: powers of two, and all");
  table.add("points", o.points,
            "a file that keeps every point as soon as it is measured; those that it has are not measured again");
  table.add("collect", o.collect, "measure nothing: tell what points has, and what is missing");
  table.add("csv", o.csv, "a file to write the table into, with commas");
  table.add("picture", o.picture, "a file to draw the speed-ups into, as SVG");
  describe(o.layer, sections);
  model::describe(o.transport, sections.section("Exchange"));
}

void settle_ranks(std::vector<Index>& ranks, Index most) {
  if (ranks.empty()) {
    for (Index r = 1; r < most; r *= 2) ranks.push_back(r);
    ranks.push_back(most);
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] > most) {
      throw InputError(fmt::format("ranks has {}, the program runs on {}", ranks[i], most),
                       fmt::format("start it on as many: mpirun -n {} conclave bench scaling ...", ranks[i]));
    }
    if (ranks[i] >= 1 && (i == 0 || ranks[i] > ranks[i - 1])) continue;
    throw InputError(fmt::format("ranks = {}", fmt::join(ranks, ",")), "give numbers from 1 on, each above the last");
  }
}

// On as many of the ranks; the others get no timings.
ScalingPoint measure(const ScalingOptions& o, const ScalingPlace& place, const comm::Communicator& world) {
  const Index factor = place.kind == ScalingKind::strong ? 1 : place.ranks;
  ScalingPoint measured{place, o.layer.tokens * factor, {}, {}};
  const bool takes_part = world.rank() < RankId{place.ranks};
  const comm::Communicator some = world.split(takes_part ? 0 : -1);
  if (takes_part) {
    const model::Transport transport(o.transport, some);
    LayerBench bench(o.layer, {measured.tokens, o.layer.groups * factor}, transport.ranks());
    bench.forward_backward();  // the rows are known
    BareExperts bare = bench.bare_experts(true);
    const GemmBackend backend = faster_backend(some, bare);
    auto timings = timed_in_turn(some, o.run.repeats, Across::slowest_rank,
                                 {[&] { bench.forward_backward(); },
                                  [&] {
                                    const GemmScope scope(backend);
                                    bare.run();
                                  }});
    measured.layer = std::move(timings[0]);
    measured.bare = std::move(timings[1]);
  }
  world.idle_barrier();
  return measured;
}

// How much more is done in a second than in the first measurement of the kind.
double speed_up(const ScalingPoint& m, const ScalingPoint& first) {
  const auto rate = [](const ScalingPoint& x) { return static_cast<double>(x.tokens) / x.layer.median(); };
  return rate(m) / rate(first) * static_cast<double>(first.place.ranks);
}

void write_csv(const std::string& path, const Report& report, const std::vector<ScalingPoint>& all) {
  std::string text = "kind,ranks,tokens,min_s,median_s,max_s,gemm_floor_s,speed_up,efficiency\n";
  for (std::size_t i = 0; i < all.size(); ++i) {
    const ScalingPoint& m = all[i];
    text += fmt::format("{},{},{},{},{},{},{},{},{}\n", name_of(m.place.kind), m.place.ranks, m.tokens, m.layer.min(),
                        m.layer.median(), m.layer.max(), m.bare.median(), report.lines[i].values[0],
                        report.lines[i].values[1]);
  }
  write_file(path, text);
}

void draw(const std::string& path, const Report& report, const std::vector<ScalingPoint>& all) {
  LineChart chart{"Speed-up of an MoE layer", "ranks", "speed-up", {{"ideal", {}, true}, {"strong", {}}, {"weak", {}}}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto ranks = static_cast<double>(all[i].place.ranks);
    chart.curves[all[i].place.kind == ScalingKind::strong ? 1 : 2].points.push_back({ranks, report.lines[i].values[0]});
    // Where strong scaling lacks a point, weak scaling may have it.
    const bool is_new = chart.curves[0].points.empty() || ranks > chart.curves[0].points.back().x;
    if (is_new) chart.curves[0].points.push_back({ranks, ranks});
  }
  write_file(path, svg_text(chart));
}

Report report_of(const ScalingOptions& o, const std::vector<ScalingPoint>& all) {
  Report report{.measurement = "scaling",
                .title = fmt::format("MoE layer on {} ranks: {} tokens of width {} in all (strong) and a rank (weak), "
                                     "top-{} of {} experts, {} threads",
                                     fmt::join(o.ranks, ", "), o.layer.tokens, o.layer.width, o.layer.router.top_k,
                                     o.layer.router.experts, num_threads()),
                .floors = {"bare GEMMs"},
                .columns = {"speed_up", "efficiency"}};
  for (const ScalingPoint& m : all) {
    const auto& first =
        *std::find_if(all.begin(), all.end(), [&](const ScalingPoint& x) { return x.place.kind == m.place.kind; });
    const double speed = speed_up(m, first);
    report.lines.push_back({.name = text_of(m.place),
                            .ours = m.layer,
                            .floors = {m.bare},
                            .amount = static_cast<double>(m.tokens),
                            .unit = "tokens/s",
                            .values = {speed, speed / static_cast<double>(m.place.ranks)}});
  }
  report.facts = {{"ranks", o.ranks}};
  report.notes = {
      "speed-up: tokens a second as a multiple of those of the kind's first line, times its ranks; efficiency: that "
      "over the ranks",
      "bare GEMMs: the experts' products on as many ranks at once, rows evenly over all experts"};
  return report;
}

// What points must have in common: all options but those that say which points there are and where they go.
Json settings_of(ScalingOptions& o, const Session& session) {
  OptionSections sections;
  describe_scaling(o, sections);
  Json settings = Json::object();
  for (const Option* option : sections.all()) settings[option->name] = option->text();
  for (const char* other : {"ranks", "points", "collect", "csv", "picture"}) settings.erase(other);
  settings["repeats"] = o.run.repeats;
  settings["threads"] = num_threads();
  const plan::Topology topology = session.world.topology();
  settings["ranks_per_node"] = topology.ranks(NodeId{0}).size();
  for (const auto& [name, value] : what_bits_depend_on(run_record(session))) settings[name] = value;
  return settings;
}

std::optional<Report> measure_scaling(ScalingOptions& o, const Session& session) {
  const comm::Communicator& world = session.world;
  settle(o.layer, session);
  settle_ranks(o.ranks, world.size());
  if (explained(o.layer, session)) return std::nullopt;
  static_cast<void>(model::Transport(o.transport, world));  // so that all ranks refuse what is wrong, not some
  if (o.collect && o.points.empty()) {
    throw InputError("collect = yes without points", "name the file of points that a study has left with --points");
  }
  refuse_unwritable(world, "csv", o.csv);
  refuse_unwritable(world, "picture", o.picture);
  std::vector<ScalingPlace> places;
  for (const ScalingKind kind : {ScalingKind::strong, ScalingKind::weak}) {
    for (const Index ranks : o.ranks) places.push_back({kind, ranks});
  }
  ScalingStudy study(o.points, settings_of(o, session), world);
  if (!o.collect) {
    for (const ScalingPlace& place : study.missing(places)) {
      study.begin(place);
      study.add(measure(o, place, world));
    }
  }
  Report report;
  train::on_root(world, [&] {
    const std::vector<ScalingPoint> all = study.points(places);
    if (all.empty()) throw InputError(fmt::format("'{}' has no point of these ranks", o.points), "measure some first");
    report = report_of(o, all);
    std::vector<std::string> missing;
    for (const ScalingPlace& place : study.missing(places)) missing.push_back(text_of(place));
    report.facts["missing"] = missing;
    if (!missing.empty()) report.notes.push_back(fmt::format("missing: {}", fmt::join(missing, "; ")));
    if (!o.csv.empty()) write_csv(o.csv, report, all);
    if (!o.picture.empty()) draw(o.picture, report, all);
  });
  return report;
}

}  // namespace

Command bench_scaling() {
  return make_measurement<ScalingOptions>("scaling", "a layer on more and more ranks, strong and weak, with a picture",
                                          describe_scaling, measure_scaling);
}

}  // namespace conclave::apps
