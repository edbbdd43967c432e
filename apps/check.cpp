// SPDX-License-Identifier: BSD-3-Clause
// The command `check`: recomputes reference cases of the MoE layer on these ranks, forward and backward, and compares.
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/reference_case.hpp"
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "runtime/core/compute_options.hpp"
#include "runtime/core/digest.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/step_report.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/agreed.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

enum class Precision { single, twofold };

constexpr std::array<EnumName<Precision>, 2> enum_names(Precision) {
  return {{{Precision::single, "float"}, {Precision::twofold, "double"}}};
}

struct CheckOptions {
  Precision precision = Precision::single;
  double tolerance = 0.0;
  std::string exchange{comm::exchange_strategies().front().name};
  ComputeOptions compute;
};

void describe(CheckOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Comparison");
  table.add("precision", o.precision, "compute in float, as training does, or in double");
  table.add("tolerance", o.tolerance,
            "largest error allowed, relative to the largest magnitude in an array; 0: 2e-5 in float, 1e-11 in double");
  table.add("exchange", o.exchange, "how rows travel between ranks: " + model::exchange_names());
  conclave::describe(o.compute, table);
}

/// How one case came out, the same on every rank.
struct Outcome {
  double y_error = 0.0;  // largest error over the largest magnitude expected
  double dx_error = 0.0;
  double parameter_error = 0.0;  // the worst gradient's
  std::string worst_parameter;
  double gate_error = 0.0;  // of combine weights
  double loss_error = 0.0;
  bool pattern = true;       // exactly the expected choices were kept
  bool counts = true;        // load and dropped
  std::uint64_t digest = 0;  // of all outputs
};

template <class T>
double relative_error(std::span<const T> got, std::span<const double> expected, double magnitude) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - expected[i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  if (std::isnan(magnitude)) return INFINITY;
  return magnitude == 0.0 ? worst : worst / magnitude;
}

double largest_magnitude(std::span<const double> values) {
  double largest = 0.0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

/// One case on these ranks: builds the layer, runs it, compares this rank's share and agrees on the whole.
template <class T>
class CaseRun {
 public:
  CaseRun(const ReferenceCase& c, const comm::Communicator& world, const comm::Exchange& exchange)
      : case_(c),
        world_(world),
        layer_(replicated_, "", c.shape, c.seed, c.layer, ExpertMap::contiguous(c.shape.router.experts, world.size()),
               {&world, &exchange}),
        plan_(replicated_.size(), c.groups, world.size()),
        gradients_(plan_, world.rank()),
        exchange_(exchange) {
    const Range groups = plan_.groups_of(world.rank());
    step_ = {c.step, true, c.groups, c.groups, groups.begin, {groups.size(), c.tokens / c.groups}, &times_};
    load_parameters();
  }

  Outcome run() {
    const Range rows = local_tokens();
    const Index width = case_.shape.width;
    Matrix<T> x = local_rows(case_.x);
    Matrix<T> dy = local_rows(case_.dy);
    Matrix<T> y(rows.size(), width);
    Matrix<T> dx(rows.size(), width);
    const std::span<const std::int32_t> ids(case_.token_ids.data() + rows.begin, static_cast<std::size_t>(rows.size()));
    layer_.forward(values(), step_, x.view(), ids, y.view());
    const std::vector<const model::MoeLayer<T>*> layers{&layer_};
    const model::LayerStatistics statistics = model::collect_statistics<T>(world_, step_, layers).front();
    layer_.backward(values(), step_, x.view(), ids, dy.view(), 1.0, dx.view(), gradients_);

    outcome_.y_error = compare_rows("y", y, case_.y);
    outcome_.dx_error = compare_rows("dx", dx, case_.gradients.at("x"));
    compare_replicated();
    compare_experts();
    compare_combine();
    compare_statistics(statistics);
    agree();
    return outcome_;
  }

 private:
  [[nodiscard]] ParameterView<const T> values() const { return ParameterView<const T>(values_.flat()); }
  [[nodiscard]] Range local_tokens() const {
    return {step_.first_group * step_.groups.rows, (step_.first_group + step_.groups.num_groups) * step_.groups.rows};
  }
  Matrix<T> local_rows(const std::vector<double>& all) const {
    const Range rows = local_tokens();
    Matrix<T> result(rows.size(), case_.shape.width);
    for (std::size_t i = 0; i < result.flat().size(); ++i) {
      result.flat()[i] = static_cast<T>(all[static_cast<std::size_t>(rows.begin * case_.shape.width) + i]);
    }
    return result;
  }

  const std::vector<double>& expected(const std::map<std::string, std::vector<double>>& arrays,
                                      const ParameterEntry& entry) const {
    const auto found = arrays.find(entry.name);
    invariant(found != arrays.end() && static_cast<Index>(found->second.size()) == entry.tensor.size(),
              "case {} was read without {}", case_.name, entry.name);
    return found->second;
  }

  void load(const ParameterList& list, std::span<T> flat) const {
    for (const ParameterEntry& entry : list.entries()) {
      const std::vector<double>& from = expected(case_.parameters, entry);
      std::copy(from.begin(), from.end(), flat.begin() + entry.tensor.offset);
    }
  }

  void load_parameters() {
    values_.resize(1, replicated_.size());
    load(replicated_, values_.flat());
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
      load(layer_.shard().parameters(LocalExpertId{i}), layer_.shard().values(LocalExpertId{i}));
    }
    if (!case_.shape.router.selection_bias) return;
    const std::vector<double>& bias = case_.parameters.at("selection_bias");
    std::copy(bias.begin(), bias.end(), layer_.selection_bias().begin());
  }

  double compare_rows(const std::string& name, const Matrix<T>& got, const std::vector<double>& whole) {
    const Range rows = local_tokens();
    for (Index i = 0; i < got.rows(); ++i) digest_.add(name, rows.begin + i, got.row(i));
    const std::span<const double> mine = std::span(whole).subspan(static_cast<std::size_t>(rows.begin * got.cols()),
                                                                  static_cast<std::size_t>(got.size()));
    return relative_error<T>(got.flat(), mine, largest_magnitude(whole));
  }

  void compare_gradients(const ParameterList& list, std::span<const T> flat) {
    for (const ParameterEntry& entry : list.entries()) {
      const auto got =
          flat.subspan(static_cast<std::size_t>(entry.tensor.offset), static_cast<std::size_t>(entry.tensor.size()));
      const std::vector<double>& want = expected(case_.gradients, entry);
      const double error = relative_error<T>(got, want, largest_magnitude(want));
      digest_.add("grad/" + entry.name, 0, got);
      if (error > outcome_.parameter_error || outcome_.worst_parameter.empty()) {
        outcome_.parameter_error = error;
        outcome_.worst_parameter = entry.name;
      }
    }
  }

  void compare_replicated() {
    Matrix<T> whole(1, replicated_.size());
    const Range slice = plan_.slice_of(world_.rank());
    std::vector<std::span<const T>> sums = gradients_.partial_sums();
    comm::reduce_scatter<T>(
        plan_, world_, exchange_, sums,
        whole.flat().subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size())));
    comm::all_gather_slices<T>(plan_, exchange_, whole.flat());
    if (world_.is_root()) compare_gradients(replicated_, whole.flat());
  }

  void compare_experts() {
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
      compare_gradients(layer_.shard().parameters(LocalExpertId{i}), layer_.shard().gradient(LocalExpertId{i}));
    }
  }

  // The weight with which each expert entered each token's sum: the same choices, and the same weights to rounding.
  void compare_combine() {
    const auto num_experts = static_cast<std::size_t>(case_.shape.router.experts);
    const double magnitude = largest_magnitude(case_.combine);
    for (Index g = 0; g < step_.groups.num_groups; ++g) {
      for (Index t = 0; t < step_.groups.rows; ++t) {
        std::vector<T> row(num_experts, T{0});
        for (const auto& kept : layer_.routed(g).routing.kept_of(t)) {
          row[static_cast<std::size_t>(kept.expert.value())] = kept.gate;
        }
        const Index token = step_.first_token(g).value() + t;
        const auto want = std::span(case_.combine).subspan(static_cast<std::size_t>(token) * num_experts, num_experts);
        for (std::size_t e = 0; e < num_experts; ++e) {
          outcome_.pattern = outcome_.pattern && (row[e] != T{0}) == (want[e] != 0.0);
        }
        outcome_.gate_error = std::max(outcome_.gate_error, relative_error<T>(row, want, magnitude));
        digest_.add("combine", token, std::span<const T>(row));
      }
    }
  }

  void compare_statistics(const model::LayerStatistics& s) {
    outcome_.counts = s.load == case_.load && s.over_capacity + s.refused_second == case_.dropped;
    const std::array<double, 3> got{s.balance, s.z, s.importance};
    const std::array<double, 3> want{case_.balance, case_.z, case_.importance};
    for (std::size_t i = 0; i < got.size(); ++i) {
      outcome_.loss_error = std::max(
          outcome_.loss_error,
          relative_error<double>(std::span(got).subspan(i, 1), std::span(want).subspan(i, 1), std::abs(want[i])));
    }
    if (!world_.is_root()) return;
    digest_.add("losses", 0, std::span<const double>(got));
    digest_.add("load", 0, std::span<const Index>(s.load));
    digest_.add("dropped", s.over_capacity, std::span<const Index>(&s.refused_second, 1));
  }

  void agree() {
    for (double* error : {&outcome_.y_error, &outcome_.dx_error, &outcome_.gate_error, &outcome_.loss_error}) {
      *error = world_.max(*error);
    }
    const double worst = world_.max(outcome_.parameter_error);
    const Index holder =
        world_.min(outcome_.parameter_error == worst && !outcome_.worst_parameter.empty() ? world_.rank().value()
                                                                                          : world_.size() - 1);
    outcome_.worst_parameter = world_.broadcast(outcome_.worst_parameter, RankId{holder});
    outcome_.parameter_error = worst;
    outcome_.pattern = world_.all(outcome_.pattern);
    outcome_.counts = world_.all(outcome_.counts);
    outcome_.digest = world_.sum_modulo(digest_.value());
  }

  const ReferenceCase& case_;
  const comm::Communicator& world_;
  ParameterList replicated_;
  model::MoeLayer<T> layer_;
  plan::ReducePlan plan_;
  model::GroupGradients<T> gradients_;
  const comm::Exchange& exchange_;
  PhaseTimes times_;
  model::Step step_;
  Matrix<T> values_;  // [1, replicated_.size()]
  Digest digest_;
  Outcome outcome_;
};

// What is wrong, in the order of the columns; nothing if the case passes.
std::vector<std::string> what_is_wrong(const Outcome& o, double tolerance) {
  std::vector<std::string> wrong;
  const auto require = [&](bool holds, const std::string& what) {
    if (!holds) wrong.push_back(what);
  };
  require(o.y_error <= tolerance, "y");
  require(o.dx_error <= tolerance, "dx");
  require(o.parameter_error <= tolerance, fmt::format("gradients, the worst of {}", o.worst_parameter));
  require(o.gate_error <= tolerance, "gates");
  require(o.loss_error <= tolerance, "losses");
  require(o.pattern, "choices");
  require(o.counts, "load or dropped");
  return wrong;
}

constexpr std::size_t name_column = 30;

void print_row(const std::string& name, const Outcome& o, const std::vector<std::string>& wrong) {
  fmt::print("{:<{}} {:>8.1e} {:>8.1e} {:>8.1e} {:>8.1e} {:>8.1e}  {:<7} {:<5} {:016x}  {}\n", name, name_column,
             o.y_error, o.dx_error, o.parameter_error, o.gate_error, o.loss_error, o.pattern ? "exact" : "differs",
             o.counts ? "exact" : "wrong", o.digest,
             wrong.empty() ? "passed" : fmt::format("FAILED: {}", fmt::join(wrong, "; ")));
}

// The case, or nothing, with a row that says why, if any rank cannot read it.
std::optional<ReferenceCase> read_together(const comm::Communicator& world, const std::string& path) {
  std::optional<ReferenceCase> c;
  try {
    train::agreed(world, [&] { c = read_case(path); });
  } catch (const InputError& error) {  // agreed: the same on every rank
    c.reset();
    if (world.is_root()) {
      fmt::print("{:<{}} REFUSED: {} ({})\n", std::filesystem::path(path).stem().string(), name_column, error.what(),
                 error.hint());
    }
  }
  return c;
}

int run(const CheckOptions& options, const Session& session) {
  const comm::Communicator& world = session.world;
  if (session.arguments.empty()) {
    throw InputError("no case to check was named", "give one or more files: conclave check tests/conformance/*.h5");
  }
  apply(options.compute);
  if (!(options.tolerance >= 0.0)) throw InputError(fmt::format("tolerance = {}", options.tolerance), "give 0 or more");
  const double by_precision = options.precision == Precision::single ? 2e-5 : 1e-11;
  const double tolerance = options.tolerance > 0.0 ? options.tolerance : by_precision;
  const auto exchange = comm::make_exchange(options.exchange, world);
  if (world.is_root()) {
    fmt::print("{} ranks, {} threads a rank, {}; errors are relative to an array's largest magnitude, at most {}\n",
               world.size(), num_threads(), name_of(options.precision), tolerance);
    fmt::print("{:<{}} {:>8} {:>8} {:>8} {:>8} {:>8}  {:<7} {:<5} {:<16}  {}\n", "case", name_column, "y", "dx",
               "dparam", "gates", "losses", "choices", "load", "digest", "verdict");
  }
  Index num_failed = 0;
  for (const std::string& path : session.arguments) {
    const std::optional<ReferenceCase> c = read_together(world, path);
    if (!c) {
      ++num_failed;
      continue;
    }
    const Outcome outcome = options.precision == Precision::single ? CaseRun<float>(*c, world, *exchange).run()
                                                                   : CaseRun<double>(*c, world, *exchange).run();
    const std::vector<std::string> wrong = what_is_wrong(outcome, tolerance);
    num_failed += wrong.empty() ? 0 : 1;
    if (world.is_root()) print_row(c->name, outcome, wrong);
  }
  if (world.is_root()) {
    const auto num_cases = static_cast<Index>(session.arguments.size());
    fmt::print("{} of {} cases passed\n", num_cases - num_failed, num_cases);
  }
  return num_failed == 0 ? 0 : 1;
}

}  // namespace

Command check_command() {
  return make_command<CheckOptions>("check", "recompute reference cases of the MoE layer on these ranks and compare",
                                    "FILE...", describe, run);
}

}  // namespace conclave::apps
