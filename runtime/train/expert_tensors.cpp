// SPDX-License-Identifier: BSD-3-Clause
// An edit of experts carried out on a checkpoint's tensors.
#include "runtime/train/expert_edit.hpp"
#include "runtime/train/start.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::train {
namespace {

using model::ModelOptions;
using Order = std::vector<Index>;   // new place -> old place
using Orders = std::vector<Order>;  // of the experts that are merged into one, but the first

/// A tensor as a matrix; a vector is a row of it, or a column.
struct Grid {
  Index rows, cols;
};
Grid grid_of(const WholeTensor& tensor) {
  return tensor.shape.size() == 2 ? Grid{tensor.shape[0], tensor.shape[1]} : Grid{1, tensor.shape[0]};
}
bool has_hidden_rows(std::string_view name) { return name == "w1" || name == "w3"; }

/// The hidden units `units` of an expert's tensor `name`: rows of w1 and w3, columns of w2 and of b1 and b3.
WholeTensor hidden_units(const std::string& name, const WholeTensor& from, const Order& units) {
  if (name == "b2") return from;
  const Grid grid = grid_of(from);
  const bool by_row = has_hidden_rows(name);
  const auto count = static_cast<Index>(units.size());
  WholeTensor to{from.shape, {}};
  to.shape[by_row || to.shape.size() == 1 ? 0 : 1] = count;
  const Grid size = by_row ? Grid{count, grid.cols} : Grid{grid.rows, count};
  for (Index i = 0; i < size.rows; ++i) {
    for (Index j = 0; j < size.cols; ++j) {
      const Index row = by_row ? units[static_cast<std::size_t>(i)] : i;
      const Index col = by_row ? j : units[static_cast<std::size_t>(j)];
      to.values.push_back(from.values[static_cast<std::size_t>(row * grid.cols + col)]);
    }
  }
  return to;
}

void multiply(WholeTensor& tensor, double factor) {
  for (float& value : tensor.values) value = static_cast<float>(static_cast<double>(value) * factor);
}

void add(double factor, const WholeTensor& from, WholeTensor& to) {
  for (std::size_t i = 0; i < to.values.size(); ++i) {
    to.values[i] += static_cast<float>(factor * static_cast<double>(from.values[i]));
  }
}

/// One MoE layer's tensors in one group: the parameters, or a state of the optimizer.
class LayerEdit {
 public:
  /// orders: in which merged experts' hidden units come, for each new expert.
  LayerEdit(const ExpertEdit& edit, std::size_t layer, const ModelOptions& options, std::string group, Index block,
            const std::vector<Orders>& orders)
      : edit_(edit),
        origins_(edit.layers[layer]),
        options_(options),
        orders_(orders),
        group_(std::move(group)),
        prefix_(fmt::format("{}block/{}/moe/", group_, block)) {}

  void apply(WholeTensors& tensors) const {
    for (const char* name : {"router_weight", "noise_weight", "router_bias", "selection_bias"})
      edit_rows(name, tensors);
    WholeTensors experts;
    for (auto at = tensors.lower_bound(prefix_ + "expert/");
         at != tensors.end() && at->first.starts_with(prefix_ + "expert/");) {
      experts.insert(tensors.extract(at++));
    }
    for (std::size_t e = 0; e < origins_.size(); ++e) add_expert(static_cast<Index>(e), experts, tensors);
  }

 private:
  [[nodiscard]] bool is_parameters() const { return group_ == parameter_group; }
  // The second moment of what is multiplied by f is multiplied by f^2.
  [[nodiscard]] double of_state(double gradient_factor) const {
    return group_.ends_with("/v/") ? gradient_factor * gradient_factor : gradient_factor;
  }
  [[nodiscard]] bool have_parts_whole_gates() const {
    const gating::RouterOptions& r = options_.router;
    const bool has_scores = r.router == "topk" || r.router == "expert_choice";
    return options_.fusion == model::Fusion::weighted && has_scores && r.scorer == gating::Scorer::sigmoid &&
           (r.normalise == gating::Normalise::none || r.router == "expert_choice");
  }
  // What the output matrix grows by.
  [[nodiscard]] double output_growth() const {
    return have_parts_whole_gates() ? 1.0 : static_cast<double>(edit_.parts);
  }

  [[nodiscard]] static std::string expert_prefix(const std::string& prefix, Index expert) {
    return fmt::format("{}expert/{:04}/", prefix, expert);
  }

  void edit_rows(const std::string& name, WholeTensors& tensors) const {
    auto found = tensors.find(prefix_ + name);
    const bool is_asked = name == "router_bias" && edited_options(edit_, options_).router.router_bias &&
                          tensors.contains(prefix_ + "router_weight");
    if (found == tensors.end() && !is_asked) return;
    WholeTensor before{{options_.router.experts},
                       std::vector<float>(static_cast<std::size_t>(options_.router.experts))};
    if (found != tensors.end()) before = found->second;
    const Index cols = before.shape.size() == 2 ? before.shape[1] : 1;
    WholeTensor after = before;
    after.shape[0] = edit_.num_experts();
    after.values.assign(static_cast<std::size_t>(after.shape[0] * cols), 0.0F);
    for (std::size_t e = 0; e < origins_.size(); ++e) {
      const auto row =
          std::span(after.values).subspan(e * static_cast<std::size_t>(cols), static_cast<std::size_t>(cols));
      add_row(name, origins_[e], before, row);
    }
    tensors[prefix_ + name] = std::move(after);
  }

  void add_row(const std::string& name, const ExpertOrigin& origin, const WholeTensor& before,
               std::span<float> row) const {
    const auto parts = static_cast<double>(edit_.parts);
    if (!is_parameters() && origin.is_new) return;
    if (name == "selection_bias" && origin.is_new) {
      row[0] = *std::min_element(before.values.begin(), before.values.end());  // behind all others
      return;
    }
    double factor = is_parameters() ? 1.0 : of_state(1.0 / parts);
    // It is compared with scores, which a softmax has made smaller.
    if (name == "selection_bias" && options_.router.scorer == gating::Scorer::softmax) factor = 1.0 / parts;
    for (std::size_t i = 0; i < origin.experts.size(); ++i) {
      const std::size_t from = static_cast<std::size_t>(origin.experts[i].value()) * row.size();
      for (std::size_t j = 0; j < row.size(); ++j) {
        row[j] += static_cast<float>(origin.shares[i] * factor * static_cast<double>(before.values[from + j]));
      }
    }
    if (name == "router_bias" && is_parameters()) row[0] += static_cast<float>(origin.logit);
  }

  void add_expert(Index number, const WholeTensors& experts, WholeTensors& tensors) const {
    const ExpertOrigin& origin = origins_[static_cast<std::size_t>(number)];
    const std::string from = expert_prefix(prefix_, origin.experts.front().value());
    for (auto at = experts.lower_bound(from); at != experts.end() && at->first.starts_with(from); ++at) {
      const std::string name = at->first.substr(from.size());
      WholeTensor tensor = at->second;
      if (!is_parameters() && origin.is_new) multiply(tensor, 0.0);
      if (origin.experts.size() > 1) {
        multiply(tensor, origin.shares[0]);
        for (std::size_t i = 1; i < origin.experts.size(); ++i) {
          const WholeTensor& other = experts.at(expert_prefix(prefix_, origin.experts[i].value()) + name);
          const Order& order = orders_[static_cast<std::size_t>(number)][i - 1];
          add(origin.shares[i], hidden_units(name, other, order), tensor);
        }
      }
      if (edit_.parts > 1) tensor = part(name, tensor, origin.part);
      tensors[expert_prefix(prefix_, number) + name] = std::move(tensor);
    }
  }

  [[nodiscard]] WholeTensor part(const std::string& name, const WholeTensor& whole, Index number) const {
    const Grid grid = grid_of(whole);
    const Index hidden = (has_hidden_rows(name) ? grid.rows : grid.cols) / edit_.parts;
    Order units(static_cast<std::size_t>(hidden));
    std::iota(units.begin(), units.end(), number * hidden);
    WholeTensor result = hidden_units(name, whole, units);
    const double growth = output_growth();
    if (name == "w2") multiply(result, is_parameters() ? growth : of_state(1.0 / growth));
    if (name == "b2") {
      multiply(result, is_parameters() ? growth / static_cast<double>(edit_.parts) : of_state(1.0 / growth));
    }
    return result;
  }

  const ExpertEdit& edit_;
  const std::vector<ExpertOrigin>& origins_;
  const ModelOptions& options_;
  const std::vector<Orders>& orders_;
  std::string group_, prefix_;
};

/// [units of a][units of b]: how alike what leads to each unit and from it is, as a dot product. `prefix`: the
/// experts'.
std::vector<double> likeness(const WholeTensors& tensors, const std::string& a, const std::string& b, Index units) {
  std::vector<double> products(static_cast<std::size_t>(units * units));
  for (const std::string name : {"w1", "w3", "w2"}) {
    const auto of_a = tensors.find(a + name);
    if (of_a == tensors.end()) continue;
    const Grid grid = grid_of(of_a->second);
    const bool by_row = has_hidden_rows(name);
    const Index length = by_row ? grid.cols : grid.rows;
    const std::vector<float>& x = of_a->second.values;
    const std::vector<float>& y = tensors.at(b + name).values;
    const auto at = [&](Index unit, Index k) {
      return static_cast<std::size_t>(by_row ? unit * grid.cols + k : k * grid.cols + unit);
    };
    for (Index i = 0; i < units; ++i) {
      for (Index j = 0; j < units; ++j) {
        double sum = 0.0;
        for (Index k = 0; k < length; ++k) sum += static_cast<double>(x[at(i, k)]) * static_cast<double>(y[at(j, k)]);
        products[static_cast<std::size_t>(i * units + j)] += sum;
      }
    }
  }
  return products;
}

/// For each hidden unit of expert a the one of b that it is averaged with: experts compute the same in any order of
/// their units. The most alike first, each once (greedy; ties: lower numbers).
Order matched_units(const WholeTensors& tensors, const std::string& a, const std::string& b) {
  const Index units = tensors.at(a + "w1").shape[0];
  if (!tensors.contains(a + "w2")) {  // linear: what are rows are outputs, which have their places
    Order same(static_cast<std::size_t>(units));
    std::iota(same.begin(), same.end(), Index{0});
    return same;
  }
  const std::vector<double> products = likeness(tensors, a, b, units);
  std::vector<std::size_t> pairs(products.size());
  std::iota(pairs.begin(), pairs.end(), std::size_t{0});
  std::stable_sort(pairs.begin(), pairs.end(), [&](auto i, auto j) { return products[i] > products[j]; });
  Order order(static_cast<std::size_t>(units), -1);
  std::vector<bool> is_taken(static_cast<std::size_t>(units));
  for (const std::size_t pair : pairs) {
    const std::size_t i = pair / static_cast<std::size_t>(units);
    const std::size_t j = pair % static_cast<std::size_t>(units);
    if (order[i] >= 0 || is_taken[j]) continue;
    order[i] = static_cast<Index>(j);
    is_taken[j] = true;
  }
  return order;
}

std::vector<Orders> orders_of(const std::vector<ExpertOrigin>& origins, const WholeTensors& tensors, Index block) {
  std::vector<Orders> orders(origins.size());
  for (std::size_t e = 0; e < origins.size(); ++e) {
    const auto prefix = [&](std::size_t i) {
      return fmt::format("{}block/{}/moe/expert/{:04}/", parameter_group, block, origins[e].experts[i].value());
    };
    for (std::size_t i = 1; i < origins[e].experts.size(); ++i) {
      orders[e].push_back(matched_units(tensors, prefix(0), prefix(i)));
    }
  }
  return orders;
}

// "/params/" and "/optimizer/m/" and so on.
std::vector<std::string> groups_of(const WholeTensors& tensors) {
  std::vector<std::string> groups;
  for (const auto& [name, tensor] : tensors) {
    const bool is_state = name.starts_with(optimizer_group);
    const std::string group = name.substr(0, name.find('/', is_state ? optimizer_group.size() : 1) + 1);
    if (groups.empty() || groups.back() != group) groups.push_back(group);
  }
  return groups;
}

}  // namespace

void apply(const ExpertEdit& edit, CheckpointContents& contents) {
  const ModelOptions options = model_options(contents.header);
  ModelOptions after = edited_options(edit, options);
  const std::vector<std::string> groups = groups_of(contents.tensors);
  std::size_t layer = 0;
  for (Index block = 0; block < options.layers; ++block) {
    if (!options.is_moe(block)) continue;
    const std::vector<Orders> orders = orders_of(edit.layers[layer], contents.tensors, block);
    for (const std::string& group : groups)
      LayerEdit(edit, layer, options, group, block, orders).apply(contents.tensors);
    ++layer;
  }
  OptionTable table;
  describe(after, table);
  for (const Option& option : table.options()) contents.header.config[option.name] = option.text();
}

}  // namespace conclave::train
