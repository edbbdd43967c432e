// SPDX-License-Identifier: BSD-3-Clause
#include "experts/options.hpp"

#include <algorithm>

namespace conclave::experts {
namespace {

ExpertKind kind_named(const std::string& word) {
  std::vector<std::string> words;
  for (const auto& entry : enum_names(ExpertKind{})) {
    if (entry.name == word) return entry.value;
    words.emplace_back(entry.name);
  }
  throw InputError(fmt::format("there is no expert kind '{}'{}", word, did_you_mean(nearest_names(word, words))),
                   fmt::format("the kinds are: {}", fmt::join(words, ", ")));
}

// One base fits experts of one kind and size; a delta of the matrices' full rank could be any matrix.
void validate_sharing(const ExpertOptions& o, Index width) {
  const bool same_kind = std::ranges::all_of(o.expert_kind, [&](const auto& kind) { return kind == o.expert_kind[0]; });
  const bool same_width =
      std::ranges::all_of(o.expert_hidden, [&](Index hidden) { return hidden == o.expert_hidden[0]; });
  if (!same_kind || !same_width) {
    throw InputError(fmt::format("expert_sharing = base+delta with expert_kind = {} and expert_hidden = {}",
                                 fmt::join(o.expert_kind, ","), fmt::join(o.expert_hidden, ",")),
                     "experts share a base only if all have one kind and one hidden width: name one of each");
  }
  const bool is_linear = kind_named(o.expert_kind[0]) == ExpertKind::linear;
  const Index most = is_linear ? width : std::min(width, o.expert_hidden[0]);
  if (o.expert_rank < 1 || o.expert_rank > most) {
    throw InputError(fmt::format("expert_rank = {} for matrices of {} x {}", o.expert_rank, width,
                                 is_linear ? width : o.expert_hidden[0]),
                     fmt::format("give 1 to {}; savings need a rank well below", most));
  }
}

}  // namespace

void describe(ExpertOptions& o, OptionTable& table) {
  table.add("expert_kind", o.expert_kind, "linear, relu, gelu or swiglu; a list is repeated over a layer's experts");
  table.add("expert_hidden", o.expert_hidden, "hidden width of an expert; a list is repeated over a layer's experts");
  table.add("expert_bias", o.expert_bias, "give the matrices of experts and of dense feed-forwards biases");
  table.add("expert_sharing", o.expert_sharing,
            "base+delta: the experts of a layer share one matrix for each weight, to which each adds its own A B");
  table.add("expert_rank", o.expert_rank, "base+delta: rank of A B");
  table.add("shared_experts", o.shared_experts,
            "experts that every token passes, besides those it chooses; of the first kind in expert_kind");
  table.add("shared_hidden", o.shared_hidden, "hidden width of a shared expert");
}

void validate(const ExpertOptions& o, Index width) {
  if (o.expert_kind.empty()) throw InputError("expert_kind is an empty list", "name at least one kind, e.g. gelu");
  for (const std::string& word : o.expert_kind) static_cast<void>(kind_named(word));
  if (o.expert_hidden.empty()) throw InputError("expert_hidden is an empty list", "give at least one width");
  for (const Index hidden : o.expert_hidden) {
    if (hidden < 1) throw InputError(fmt::format("expert_hidden has {}", hidden), "a hidden width is at least 1");
    if (hidden > largest_size) {
      throw InputError(fmt::format("expert_hidden has {}", hidden), fmt::format("give at most {}", largest_size));
    }
  }
  if (o.shared_experts < 0) throw InputError(fmt::format("shared_experts = {}", o.shared_experts), "give 0 or more");
  if (o.shared_experts > 0 && o.shared_hidden < 1) {
    throw InputError(fmt::format("shared_hidden = {}", o.shared_hidden), "a hidden width is at least 1");
  }
  if (o.expert_sharing == ExpertSharing::base_and_delta) validate_sharing(o, width);
}

std::vector<ExpertShape> expert_shapes(const ExpertOptions& o, Index width, Index num_experts) {
  const Index delta_rank = o.expert_sharing == ExpertSharing::none ? 0 : o.expert_rank;
  std::vector<ExpertShape> shapes;
  for (std::size_t e = 0; e < static_cast<std::size_t>(num_experts); ++e) {
    shapes.push_back({kind_named(o.expert_kind[e % o.expert_kind.size()]), width,
                      o.expert_hidden[e % o.expert_hidden.size()], o.expert_bias, delta_rank});
  }
  return shapes;
}

std::vector<ExpertShape> shared_shapes(const ExpertOptions& o, Index width) {
  const ExpertKind kind = kind_named(o.expert_kind.front());
  return std::vector<ExpertShape>(static_cast<std::size_t>(o.shared_experts),
                                  ExpertShape{kind, width, o.shared_hidden, o.expert_bias, 0});
}

}  // namespace conclave::experts
