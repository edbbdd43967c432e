// SPDX-License-Identifier: BSD-3-Clause
#include "apps/bare_experts.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

// Numbers in (-scale, scale), quickly: all that matters is that they are no zeros, which need less power.
void fill(MatrixView<float> m, float scale) {
  std::uint32_t state = 1;
  for (float& value : m.flat()) {
    state = state * 1664525U + 1013904223U;  // Numerical Recipes' generator
    value = scale * (static_cast<float>(state >> 8) * 0x1p-23F - 1.0F);
  }
}

}  // namespace

BareExperts::BareExperts(const std::vector<experts::ExpertShape>& shapes, const std::vector<Index>& rows) {
  invariant(shapes.size() == rows.size(), "{} experts with the rows of {}", shapes.size(), rows.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) add_expert(shapes[i], rows[i]);
}

// x and y, and their gradients, take turns in g; the hidden layer's have a matrix each, of which a gated expert uses
// the second for its third product: so each product reads and writes what it would in a layer, or as much.
void BareExperts::add_expert(const experts::ExpertShape& shape, Index rows) {
  using experts::ExpertKind;
  const Index inner = shape.kind == ExpertKind::linear ? shape.width : shape.hidden;
  const MatrixView<float> x = matrix(rows, shape.width);
  const MatrixView<float> g = matrix(rows, shape.width);
  const MatrixView<float> h = matrix(rows, inner);
  fill(x, 1.0F);
  if (shape.kind == ExpertKind::linear) {
    const Linear w1 = linear("W1", x, h, h, g, shape.delta_rank);
    add_forward(w1);
    add_backward(w1);
    return;
  }
  const MatrixView<float> d_h = matrix(rows, inner);
  const Linear w1 = linear("W1", x, h, d_h, g, shape.delta_rank);
  const Linear w2 = linear("W2", h, g, g, d_h, shape.delta_rank);
  add_forward(w1);
  if (shape.kind == ExpertKind::swiglu) {
    Linear w3 = linear("W3", x, d_h, d_h, g, shape.delta_rank);
    w3.beta = 1.0F;
    add_forward(w3);
    add_forward(w2);
    add_backward(w2);
    add_backward(w1);
    add_backward(w3);
  } else {
    add_forward(w2);
    add_backward(w2);
    add_backward(w1);
  }
}

MatrixView<float> BareExperts::matrix(Index rows, Index cols) {
  memory_.emplace_back().resize(rows, cols);
  return memory_.back().view();
}

BareExperts::Linear BareExperts::linear(std::string_view name, MatrixView<float> x, MatrixView<float> y,
                                        MatrixView<float> d_y, MatrixView<float> d_x, Index delta_rank) {
  Linear l{name, x, y, d_y, d_x, matrix(y.cols, x.cols), matrix(y.cols, x.cols), 0.0F};
  fill(l.w, 1.0F / std::sqrt(static_cast<float>(x.cols)));
  if (delta_rank == 0) return l;
  l.low = matrix(x.rows, delta_rank);
  l.d_low = matrix(x.rows, delta_rank);
  l.a = matrix(y.cols, delta_rank);
  l.d_a = matrix(y.cols, delta_rank);
  l.b = matrix(delta_rank, x.cols);
  l.d_b = matrix(delta_rank, x.cols);
  for (const auto& m : {l.a, l.b}) fill(m, 1.0F / std::sqrt(static_cast<float>(m.cols)));
  return l;
}

// y = x W^T + (x B^T) A^T
void BareExperts::add_forward(const Linear& l) {
  std::vector<Product> products{{Kind::nt, l.x, l.w, 0.0F, l.y}};
  if (l.b.rows > 0) {
    products.push_back({Kind::nt, l.x, l.b, 0.0F, l.low});
    products.push_back({Kind::nt, l.low, l.a, 1.0F, l.y});
  }
  add("forward", l, products);
}

// dx = dy W + (dy A) B; dW = dy^T x, dA = dy^T (x B^T), dB = (dy A)^T x
void BareExperts::add_backward(const Linear& l) {
  std::vector<Product> inputs{{Kind::nn, l.d_y, l.w, l.beta, l.d_x}};
  std::vector<Product> weights{{Kind::tn, l.d_y, l.x, 0.0F, l.d_w}};
  if (l.b.rows > 0) {
    inputs.push_back({Kind::nn, l.d_y, l.a, 0.0F, l.d_low});
    inputs.push_back({Kind::nn, l.d_low, l.b, 1.0F, l.d_x});
    weights.push_back({Kind::tn, l.d_y, l.low, 0.0F, l.d_a});
    weights.push_back({Kind::tn, l.d_low, l.x, 0.0F, l.d_b});
  }
  add("input gradient", l, inputs);
  add("weight gradient", l, weights);
}

// A product may read what the one before it has written, so each is of a stage of its own.
void BareExperts::add(std::string_view what, const Linear& l, const std::vector<Product>& products) {
  for (std::size_t i = 0; i < products.size(); ++i) {
    std::string name = fmt::format("{} {}{}", l.name, what, i == 0 ? "" : fmt::format(", delta {}", i));
    auto stage = std::find_if(stages_.begin(), stages_.end(), [&](const Stage& s) { return s.name == name; });
    if (stage == stages_.end()) stage = stages_.insert(stages_.end(), {std::move(name)});
    stage->products.push_back(products[i]);
  }
}

double BareExperts::Product::flops() const {
  const Index inner = kind == Kind::tn ? a.rows : a.cols;
  return 2.0 * static_cast<double>(c.rows) * static_cast<double>(c.cols) * static_cast<double>(inner);
}

BareExperts::Product BareExperts::Product::part(Range rows) const {
  Product result = *this;
  result.c = c.row_block(rows);
  result.a = kind == Kind::tn ? a.col_block(rows.begin, rows.size()) : a.row_block(rows);
  return result;
}

void BareExperts::Product::compute() const {
  switch (kind) {
    case Kind::nt:
      return gemm_nt<float>(a, b, beta, c);
    case Kind::nn:
      return gemm_nn<float>(a, b, beta, c);
    case Kind::tn:
      return gemm_tn<float>(a, b, beta, c);
  }
}

void BareExperts::run() {
  for (Index s = 0; s < num_stages(); ++s) run_stage(s);
}

void BareExperts::run_stage(Index stage) {
  const double share = flops(stage) / static_cast<double>(num_threads());
  std::vector<Product> parts;
  for (const Product& product : at(stage).products) {
    if (product.flops() == 0.0) continue;
    const auto pieces = std::min(static_cast<Index>(std::ceil(product.flops() / share - 1e-9)), product.c.rows);
    for (Index i = 0; i < pieces; ++i) parts.push_back(product.part(even_share(product.c.rows, pieces, i)));
  }
  parallel_for(static_cast<Index>(parts.size()), [&](Index i) { parts[static_cast<std::size_t>(i)].compute(); });
}

double BareExperts::flops() const {
  double sum = 0.0;
  for (Index s = 0; s < num_stages(); ++s) sum += flops(s);
  return sum;
}

double BareExperts::flops(Index stage) const {
  double sum = 0.0;
  for (const Product& product : at(stage).products) sum += product.flops();
  return sum;
}

}  // namespace conclave::apps
