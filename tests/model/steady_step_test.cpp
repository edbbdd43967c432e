// SPDX-License-Identifier: BSD-3-Clause
// A steady step allocates nothing: what grows with tokens, experts or weights is kept from step to step.
#include <gtest/gtest.h>

#include <execinfo.h>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<long> num_allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (counting) {
    ++num_allocations;
    if (std::getenv("SHOW")) {
      counting = false;
      void* f[24];
      int n = backtrace(f, 24);
      backtrace_symbols_fd(f, n, 1);
      puts("--");
      fflush(stdout);
      counting = true;
    }
  }
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  if (void* data = std::aligned_alloc(alignment, whole == 0 ? alignment : whole)) return data;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { std::free(data); }

namespace conclave::model {
namespace {

using test::MoeCase;
using test::MoeRun;

/// Counts allocations while it lives.
class Counting {
 public:
  Counting() {
    num_allocations = 0;
    counting = true;
  }
  ~Counting() { counting = false; }
  [[nodiscard]] long allocations() const { return num_allocations; }
};

MoeCase dropless(Index num_experts) {
  MoeCase c;
  c.name = "dropless";
  c.num_groups = 8;
  c.group_rows = 32;
  c.shape.width = 16;
  c.shape.router.experts = num_experts;
  c.shape.router.top_k = 2;
  c.shape.router.capacity_factor = 0.0;
  c.shape.experts.assign(static_cast<std::size_t>(num_experts), {experts::ExpertKind::gelu, 16, 24, true, 0});
  return c;
}

TEST(SteadyStep, TheCounterCounts) {
  const Counting count;
  const std::vector<int> values(100);
  EXPECT_EQ(count.allocations(), 1);
}

/// Forward and backward of a layer, again and again.
class Layer {
 public:
  explicit Layer(const MoeCase& c)
      : run_(c, test::world()), plan_(run_.replicated().size(), c.num_groups, 1), gradients_(plan_, RankId{0}) {
    for (Matrix<float>* m : {&x_, &dy_, &y_, &dx_}) m->resize(c.num_tokens(), c.shape.width);
    std::ranges::copy(run_.part({0, run_.num_x()}), x_.flat().begin());
    std::ranges::copy(x_.flat(), dy_.flat().begin());
  }
  void step() {
    run_.layer().forward(run_.values(), run_.step(), x_.view(), run_.token_ids(), y_.view());
    run_.layer().shard().clear_gradients();
    run_.layer().backward(run_.values(), run_.step(), x_.view(), run_.token_ids(), dy_.view(), 1.0, dx_.view(),
                          gradients_);
    gradients_.clear();
  }

 private:
  MoeRun<float> run_;
  plan::ReducePlan plan_;
  GroupGradients<float> gradients_;
  Matrix<float> x_, dy_, y_, dx_;  // [tokens, width]
};

TEST(SteadyStep, ALayerAllocatesNothing) {
  for (const Index threads : {1, 2}) {
    const test::Threads scope(threads);
    Layer layer(dropless(8));
    for (int warm_up = 0; warm_up < 3; ++warm_up) layer.step();
    const Counting count;
    layer.step();
    EXPECT_EQ(count.allocations(), 0) << threads << " threads";
  }
}

}  // namespace
}  // namespace conclave::model
