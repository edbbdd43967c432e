// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/memory_need.hpp"

#include <algorithm>
#include <bit>

namespace conclave::model {
namespace {

constexpr double element_bytes = 4.0;

// Registers a function without making it.
Index elements_of(const experts::ExpertShape& shape) {
  return experts::expert_parameters({shape}, "", ExpertId{0}).size();
}

// Columns of activations and of their gradients: W1 x and its gradient and what W2 is applied to; a gate and its own.
double tape_columns(const experts::ExpertShape& shape) {
  if (shape.kind == experts::ExpertKind::linear) return 0.0;
  const double weights = shape.kind == experts::ExpertKind::swiglu ? 3.0 : 2.0;
  const double low = 2.0 * weights * static_cast<double>(shape.delta_rank);
  return (2.0 * weights - 1.0) * static_cast<double>(shape.hidden) + low;
}

Index router_elements(const gating::RouterOptions& router, Index width) {
  ParameterList list;
  static_cast<void>(gating::make_router<float>(router, 0, width, list, ""));
  return list.size();
}

bool has_attention(const DataShape& shape) { return shape.features == 0; }

experts::ExpertShape dense_shape(const ModelOptions& o) {
  return {o.dense_kind, o.width, o.dense_hidden, o.experts.expert_bias};
}

Index block_elements(const ModelOptions& o, const DataShape& shape, Index block) {
  Index elements = has_attention(shape) ? o.width + 4 * o.width * o.width : 0;
  if (o.residual) elements += o.width;
  if (!o.is_moe(block)) return elements + elements_of(dense_shape(o));
  for (const experts::ExpertShape& expert : experts::shared_shapes(o.experts, o.width)) elements += elements_of(expert);
  return elements + router_elements(o.router, o.width);
}

// Of the head's input or output, whichever side a model of this kind has: language models share a table if it is tied.
Index end_elements(const ModelOptions& o, const DataShape& shape) {
  if (shape.classes == 0) return (o.tied_head ? 1 : 2) * shape.vocabulary * o.width + o.width;
  const Index head = (o.width + 1) * shape.classes + (o.residual ? o.width : 0);
  if (has_attention(shape)) return shape.vocabulary * o.width + head;
  return head + (o.input_map ? (shape.features + 1) * o.width : 0);
}

// What a block keeps of a token beside its feed-forward's own: the normed inputs, the middle, its output, a gradient,
// and attention's queries, keys, values and results.
double block_columns(const ModelOptions& o, const DataShape& shape) {
  const double width = static_cast<double>(o.width);
  return (has_attention(shape) ? 2.0 + 4.0 : 0.0) * width + (o.residual ? 1.0 : 0.0) * width + 2.0 * width;
}

// Blocks that need the same.
struct Blocks {
  Index count = 0;
  Index example = 0;  // one of them
};

std::vector<Blocks> kinds_of_blocks(const ModelOptions& o) {
  const Index with_experts = o.num_moe_layers();
  std::vector<Blocks> kinds;
  if (with_experts > 0) kinds.push_back({with_experts, o.moe_every - 1});
  if (with_experts < o.layers) kinds.push_back({o.layers - with_experts, 0});
  return kinds;
}

// Bytes that the blocks' matrices take at the very least, as a number that cannot overflow where counts of elements
// would.
double least_bytes(const ModelOptions& o, const DataShape& shape, Index num_ranks) {
  const auto width = static_cast<double>(o.width);
  const auto narrowest = [&](Index hidden) { return width * static_cast<double>(std::min(hidden, o.width)); };
  double elements = has_attention(shape) ? static_cast<double>(o.layers) * 4.0 * width * width : 0.0;
  for (const Blocks& blocks : kinds_of_blocks(o)) {
    const auto count = static_cast<double>(blocks.count);
    if (!o.is_moe(blocks.example)) {
      elements += count * narrowest(o.dense_hidden);
    } else if (o.experts.expert_sharing == experts::ExpertSharing::none) {
      elements += count * static_cast<double>(o.router.experts) / static_cast<double>(num_ranks) *
                  narrowest(std::ranges::min(o.experts.expert_hidden));
    }
  }
  return element_bytes * elements;
}

// Elements that a gradient's sum over terms on all ranks takes: partial sums, what arrives of them and what leaves, and
// the slice that they add up to.
double summed(const plan::ReducePlan& plan, const RunSizes& run, RankId rank, Index largest_range) {
  const auto slice = static_cast<double>(plan.slice_of(rank).size());
  Index all_pieces = 0;
  for (RankId r; r < RankId{run.transport.num_ranks}; ++r) all_pieces += std::ssize(plan.pieces_of(r));
  const plan::ExchangedRows travelling{
      .sent = static_cast<double>(std::ssize(plan.pieces_of(rank)) * plan.num_elements()),
      .received = static_cast<double>(all_pieces) * slice};
  return gradient_sums(plan, rank, largest_range, run.threads) + plan::rows_kept(run.transport, travelling) + slice;
}

Index largest_elements(const std::vector<experts::ExpertShape>& shapes) {
  Index largest = 0;
  for (std::size_t e = 0; e < shapes.size(); ++e) {
    if (e == 0 || shapes[e] != shapes[e - 1]) largest = std::max(largest, elements_of(shapes[e]));
  }
  return largest;
}

// Elements of sums in the making where the gradients of experts with `rows` rows each are summed over segments: on each
// thread one a level of the tree, and one that is added to what earlier passes gave.
double segment_sums(const std::vector<experts::ExpertShape>& shapes, double rows, Index threads) {
  const Index segments = experts::RowCut(static_cast<Index>(rows)).num_segments();
  if (segments == 1) return 0.0;
  const Index levels = std::bit_width(static_cast<std::uint64_t>(segments)) - 1;
  return static_cast<double>(threads * (levels + 1) * largest_elements(shapes));
}

// Elements of copies of a layer's experts on a rank, each as large as the largest: their values, their partial sums,
// and, as homes have these too on average, the sums there, an expert's own and those that arrive.
double replica_elements(const std::vector<experts::ExpertShape>& shapes, const RunSizes& run) {
  const Index num_ranks = run.transport.num_ranks;
  if (run.replicas == 0 || shapes.empty() || num_ranks == 1) return 0.0;
  const Index of_rank = (run.replicas + num_ranks - 1) / num_ranks;
  return 4.0 * static_cast<double>(of_rank * largest_elements(shapes));
}

}  // namespace

Index replicated_elements(const ModelOptions& o, const DataShape& shape) {
  Index elements = end_elements(o, shape);
  for (const Blocks& blocks : kinds_of_blocks(o)) elements += blocks.count * block_elements(o, shape, blocks.example);
  return elements;
}

ReplicatedLayout replicated_layout(const ModelOptions& o, const DataShape& shape) {
  ReplicatedLayout layout;
  ParameterList& list = layout.list;
  const auto matrix = [&](const std::string& name, Index rows, Index cols) { list.add_matrix(name, rows, cols, {}); };
  const auto vector = [&](const std::string& name, Index size) { list.add_vector(name, size, {}); };
  const auto function = [&](const std::string& prefix, const experts::ExpertShape& of) {
    const ParameterList tensors = experts::expert_parameters({of}, "", ExpertId{0});
    for (const ParameterEntry& entry : tensors.entries()) {
      const bool is_vector = entry.shape.size() == 1;
      const std::string name = prefix + entry.name.substr(entry.name.find('/') + 1);  // less the expert's number
      is_vector ? vector(name, entry.tensor.size()) : matrix(name, entry.tensor.rows, entry.tensor.cols);
    }
  };
  if (shape.classes == 0 || has_attention(shape)) {
    matrix("embedding", shape.vocabulary, o.width);
  } else if (o.input_map) {
    matrix("input_map/weight", o.width, shape.features);
    vector("input_map/bias", o.width);
  }
  if (shape.classes == 0 || o.residual) vector("final_norm", o.width);
  for (Index b = 0; b < o.layers; ++b) {
    const std::string block = fmt::format("block/{}/", b);
    ReplicatedLayout::Block& begins = layout.blocks.emplace_back();
    begins.begin = list.size();
    if (has_attention(shape)) {
      vector(block + "attention_norm", o.width);
      matrix(block + "attention/qkv", 3 * o.width, o.width);
      begins.attention_out = list.size();
      matrix(block + "attention/out", o.width, o.width);
    } else {
      begins.attention_out = list.size();
    }
    begins.feed_forward = list.size();
    if (o.residual) vector(block + "feed_forward_norm", o.width);
    if (!o.is_moe(b)) {
      function(block + "feed_forward/", dense_shape(o));
      continue;
    }
    static_cast<void>(gating::make_router<float>(o.router, 0, o.width, list, block + "moe/"));
    const std::vector<experts::ExpertShape> shared = experts::shared_shapes(o.experts, o.width);
    for (std::size_t i = 0; i < shared.size(); ++i) function(fmt::format("{}moe/shared/{:04}/", block, i), shared[i]);
  }
  layout.end_of_blocks = list.size();
  if (shape.classes > 0) {
    matrix("head/weight", shape.classes, o.width);
    vector("head/bias", shape.classes);
  } else if (!o.tied_head) {
    matrix("head/weight", shape.vocabulary, o.width);
  }
  return layout;
}

double gradient_sums(const plan::ReducePlan& plan, RankId rank, Index largest_range, Index threads) {
  const Index terms = std::max<Index>(plan.groups_of(rank).size(), 1);
  // A leaf in the making on each thread, a sum on each level of the tree; one of them stands in its piece's array.
  const Index live = threads + std::bit_width(static_cast<std::uint64_t>(terms)) - 1;
  const Index borrowed = std::min(live, terms) - 1;
  return static_cast<double>(std::ssize(plan.pieces_of(rank)) * plan.num_elements() + borrowed * largest_range);
}

Index base_elements(const std::vector<experts::ExpertShape>& experts) {
  if (experts.empty() || experts.front().delta_rank == 0) return 0;
  return experts::base_parameters(experts.front(), "", 1.0).size();
}

plan::MoeLayerSizes moe_layer_sizes(const gating::RouterOptions& router,
                                    const std::vector<experts::ExpertShape>& experts, Index width, Index tokens,
                                    double rows_here, const std::vector<ExpertId>& mine,
                                    const plan::RowTransport& transport) {
  plan::MoeLayerSizes sizes{.transport = transport,
                            .tokens = tokens,
                            .width = width,
                            .num_experts = router.experts,
                            .rows_sent = static_cast<double>(tokens * router.top_k),
                            .rows_here = rows_here,
                            .experts_here = std::ssize(mine)};
  double columns = 0.0;
  for (const ExpertId id : mine) {
    const experts::ExpertShape& shape = experts[static_cast<std::size_t>(id.value())];
    sizes.expert_elements += elements_of(shape);
    columns += tape_columns(shape);
  }
  if (!mine.empty()) sizes.tape_columns = columns / static_cast<double>(mine.size());
  return sizes;
}

namespace {

/// What is the same for all ranks.
struct Common {
  plan::ReducePlan reduction;                // of the replicated parameters
  std::vector<experts::ExpertShape> shapes;  // of an MoE layer's experts; none without such layers
  plan::ReducePlan base;                     // of what a layer's experts share
};

/// One rank's need, item by item.
class RankNeed {
 public:
  RankNeed(const ModelOptions& options, const DataShape& shape, const RunSizes& run, RankId rank, const Common& common)
      : o_(options),
        shape_(shape),
        run_(run),
        rank_(rank),
        common_(common),
        tokens_(even_share(run.groups_in_pass, run.transport.num_ranks, rank.value()).size() * run.group_rows) {
    // of ExpertMap::contiguous, without the other ranks'
    const Range mine = even_share(std::ssize(common.shapes), run.transport.num_ranks, rank.value());
    for (Index e = mine.begin; e < mine.end; ++e) experts_.emplace_back(e);
  }

  std::vector<plan::MemoryItem> items() && {
    add_replicated();
    for (const Blocks& blocks : kinds_of_blocks(o_)) {
      add_activations(static_cast<double>(blocks.count) * block_columns(o_, shape_));
      o_.is_moe(blocks.example) ? add_moe_layers(blocks.count) : add_dense_layers(blocks.count);
    }
    // Blocks take turns with the same memory.
    if (!common_.shapes.empty()) {
      add("sums of experts' gradients", segment_sums(common_.shapes, rows_of_expert(), run_.threads));
    }
    // however rows travel, the updated parameters are gathered by messages
    add(plan::library_memory({.num_ranks = run_.transport.num_ranks}, run_.threads));
    return std::move(items_);
  }

 private:
  // One item for each purpose.
  void add(const plan::MemoryItem& item) {
    const auto known = std::ranges::find(items_, item.what, &plan::MemoryItem::what);
    if (known == items_.end()) {
      items_.push_back(item);
    } else {
      known->bytes += item.bytes;
    }
  }
  void add(std::string_view what, double elements) {
    if (elements > 0.0) add({what, element_bytes * elements});
  }
  void add_states(Index elements) {
    add("optimizer state", static_cast<double>(run_.num_states * elements));
    if (run_.checkpoint_copy) add("copy for checkpoints", static_cast<double>((1 + run_.num_states) * elements));
  }
  void add_activations(double columns) { add("activations", static_cast<double>(tokens_) * columns); }

  void add_replicated() {
    // the largest range of parameters that is covered at once
    const Index largest_range = std::max(shape_.vocabulary, 3 * o_.width) * o_.width;
    add("replicated parameters", static_cast<double>(common_.reduction.num_elements()));
    add("their gradients", summed(common_.reduction, run_, rank_, largest_range));
    add_states(common_.reduction.slice_of(rank_).size());
    add_activations(5.0 * static_cast<double>(o_.width));  // embedding and head
  }

  void add_dense_layers(Index count) { add_activations(static_cast<double>(count) * tape_columns(dense_shape(o_))); }

  void add_moe_layers(Index count) {
    const auto layers = static_cast<double>(count);
    for (const experts::ExpertShape& expert : experts::shared_shapes(o_.experts, o_.width)) {
      add_activations(layers * (tape_columns(expert) + static_cast<double>(o_.width)));
    }
    const double rows_here = rows_of_expert() * static_cast<double>(experts_.size());
    const plan::MoeLayerSizes layer =
        moe_layer_sizes(o_.router, common_.shapes, o_.width, tokens_, rows_here, experts_, run_.transport);
    add_states(count * layer.expert_elements);
    add_base(count);
    for (const plan::MemoryItem& item : plan::moe_layer_memory(layer)) add({item.what, layers * item.bytes});
    add("replicas of experts", layers * replica_elements(common_.shapes, run_));
  }

  // What a layer's experts share.
  void add_base(Index count) {
    const plan::ReducePlan& base = common_.base;
    if (base.num_elements() == 0) return;
    add("experts' shared base", static_cast<double>(count) * (static_cast<double>(base.num_elements()) +
                                                              summed(base, run_, rank_, base.num_elements())));
    add_states(count * base.slice_of(rank_).size());
  }

  // All experts equally liked. Rows come from all tokens of a pass, however ranks share these out: a rank may have
  // experts alone.
  [[nodiscard]] double rows_of_expert() const {
    return static_cast<double>(run_.groups_in_pass * run_.group_rows * o_.router.top_k) /
           static_cast<double>(o_.router.experts);
  }

  const ModelOptions& o_;
  const DataShape& shape_;
  const RunSizes& run_;
  RankId rank_;
  const Common& common_;
  Index tokens_;
  std::vector<ExpertId> experts_;
  std::vector<plan::MemoryItem> items_;
};

}  // namespace

std::vector<std::vector<plan::MemoryItem>> memory_needs(const ModelOptions& o, const DataShape& shape,
                                                        const RunSizes& run, std::span<const RankId> ranks) {
  const Index num_ranks = run.transport.num_ranks;
  constexpr double no_machine_has = 0x1p56;
  const double least = least_bytes(o, shape, num_ranks);
  if (least > no_machine_has) return {ranks.size(), {{"parameters alone", least}}};
  std::vector<experts::ExpertShape> shapes;
  if (o.moe_every != 0) shapes = experts::expert_shapes(o.experts, o.width, o.router.experts);
  const Index shared = base_elements(shapes);
  const Index sharing = shared > 0 ? std::ssize(shapes) : 0;
  const Common common{
      {replicated_elements(o, shape), run.groups_in_pass, num_ranks}, std::move(shapes), {shared, sharing, num_ranks}};
  std::vector<std::vector<plan::MemoryItem>> needs;
  for (const RankId rank : ranks) needs.push_back(RankNeed(o, shape, run, rank, common).items());
  return needs;
}

std::vector<plan::MemoryItem> memory_need(const ModelOptions& o, const DataShape& shape, const RunSizes& run,
                                          RankId rank) {
  return memory_needs(o, shape, run, std::span(&rank, 1)).front();
}

}  // namespace conclave::model
