// SPDX-License-Identifier: BSD-3-Clause
// A folder that all ranks see, and tensors whose elements tell where they belong.
#pragma once

#include "runtime/core/random.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_draft.hpp"
#include "tests/support/file_content.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/support/sealed_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace conclave::train::testing_support {

namespace fs = std::filesystem;
using test::change_and_seal;
using test::content_of;

struct Described {
  std::string name;
  std::vector<Index> shape;
};

/// Vectors, matrices, more dimensions, one element, none.
inline std::vector<Described> some_tensors() {
  return {{"/params/embedding", {37, 5}},
          {"/params/block/0/moe/expert/0000/w1", {3, 4, 5}},
          {"/params/block/0/moe/expert/0001/w1", {3, 4, 5}},
          {"/params/bias", {17}},
          {"/params/one", {1}},
          {"/params/none", {0}},
          {"/params/hollow", {3, 0}},
          {"/optimizer/m/embedding", {37, 5}}};
}

inline float element(std::size_t tensor, Index position) {
  return static_cast<float>(Random(5, RandomStream::initial).normal(position, static_cast<Index>(tensor)));
}

/// The `rank`-th of `parts` ranges that make up [0, size); uneven, some empty, and others for each salt.
inline Range uneven_share(Index size, Index parts, Index rank, Index salt) {
  std::vector<Index> borders{0, size};
  for (Index i = 1; i < parts; ++i) {
    borders.push_back(
        static_cast<Index>(Random(3, RandomStream::initial).bits(i, salt) % static_cast<Index>(size + 1)));
  }
  std::sort(borders.begin(), borders.end());
  return {borders[static_cast<std::size_t>(rank)], borders[static_cast<std::size_t>(rank) + 1]};
}

/// Parts with memory of their own.
struct Parts {
  std::vector<std::vector<float>> memory;
  std::vector<TensorPart> parts;

  void add(const Described& tensor, Range held) {
    memory.emplace_back(static_cast<std::size_t>(held.size()), -1.0F);
    parts.push_back({tensor.name, tensor.shape, held, memory.back().data()});
  }
  void fill() {
    for (std::size_t t = 0; t < parts.size(); ++t) {
      for (Index i = 0; i < parts[t].held.size(); ++i) parts[t].data[i] = element(t, parts[t].held.begin + i);
    }
  }
  void expect_filled() const {
    for (std::size_t t = 0; t < parts.size(); ++t) {
      for (Index i = 0; i < parts[t].held.size(); ++i) {
        ASSERT_EQ(parts[t].data[i], element(t, parts[t].held.begin + i)) << parts[t].name << " " << i;
      }
    }
  }
};

inline Parts uneven_parts(const comm::Communicator& communicator, const std::vector<Described>& tensors, Index salt) {
  Parts parts;
  for (const Described& tensor : tensors) {
    const Index size = num_elements(tensor.shape);
    parts.add(tensor, uneven_share(size, communicator.size(), communicator.rank().value(), salt++));
  }
  return parts;
}

inline Parts filled_parts(const comm::Communicator& communicator, Index salt = 0) {
  Parts parts = uneven_parts(communicator, some_tensors(), salt);
  parts.fill();
  return parts;
}

inline CheckpointHeader some_header(Index step) {
  CheckpointHeader header;
  header.config = {{"model_width", "64"}, {"data", "Bücher/a b.txt"}, {"empty", ""}};
  header.integers = {{"step", step}, {"tokens", Index{1} << 40}};
  header.numbers = {{"best_loss", 0.1}};
  header.record = {{"compiler", "GCC 12.2"}, {"cpu", "any"}};
  header.tables["loss"] = {2, 3, {1, 2, 3, 4, 5, 0.1}};
  return header;
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    std::string pattern = (fs::temp_directory_path() / "conclave-checkpoint-XXXXXX").string();
    if (world_.is_root()) pattern = ::mkdtemp(pattern.data());
    folder_ = world_.broadcast(pattern);
  }
  ~CheckpointTest() override {
    world_.barrier();
    if (world_.is_root()) fs::remove_all(folder_);
  }

  fs::path write(Index step, const Retention& keep = {.last = 100}) {
    const Parts parts = filled_parts(world_);
    return write_checkpoint(world_, folder_, step, keep, some_header(step), parts.parts);
  }
  void expect_readable(const fs::path& file) {
    Parts parts = uneven_parts(world_, some_tensors(), 50);
    read_tensors(world_, file, parts.parts);
    parts.expect_filled();
  }
  /// Root's names in the folder but `latest`, sorted, on every rank.
  std::string listing() {
    world_.barrier();
    std::vector<std::string> names;
    if (world_.is_root()) {
      for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
      std::erase(names, "latest");
    }
    std::sort(names.begin(), names.end());
    std::string text;
    for (const std::string& name : names) text += name + " ";
    return world_.broadcast(text);
  }
  /// Runs `work` on every rank, which must fail on all of them as InputError with the same words.
  template <class Work>
  Failure failure_everywhere(Work&& work) {
    Failure failure;
    try {
      work();
      ADD_FAILURE() << "nothing was refused";
    } catch (const InputError& error) {
      failure = {error.what(), error.hint()};
    }
    for (const std::string& text : world_.gather_all(failure.message)) EXPECT_EQ(text, failure.message);
    for (const std::string& text : world_.gather_all(failure.hint)) EXPECT_EQ(text, failure.hint);
    return failure;
  }

  const comm::Communicator& world_ = test::world();
  fs::path folder_;
};

inline void overwrite(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace conclave::train::testing_support
