// SPDX-License-Identifier: BSD-3-Clause
// Safetensors files: what is written is what the format says, by a reader of its own, and what does not hold is
// refused.
#include "runtime/train/safetensors_model.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

namespace conclave::train {
namespace {

using test::content_of;

CheckpointContents small_contents() {
  CheckpointContents contents;
  contents.header.config = {{"layers", "2"}, {"data", "a \"b\" \xc3\xa9 = .5"}};
  contents.header.record = {{"cpu", "some CPU"}};
  contents.header.integers = {{"step", 7}, {"class/a.b", -3}};
  contents.header.numbers = {{"x", 0.1}, {"none", std::numeric_limits<double>::infinity()}};
  contents.header.tables["history"] = {2, 3, {1.0, 2.0, 1e-300, 4.0, std::nan(""), -0.0}};
  const auto tensor = [](std::vector<Index> shape, Index seed) {
    WholeTensor t{shape, std::vector<float>(static_cast<std::size_t>(num_elements(shape)))};
    const Random random(seed, RandomStream::generate);
    for (std::size_t i = 0; i < t.values.size(); ++i) {
      t.values[i] = static_cast<float>(random.normal(static_cast<Index>(i), 0));
    }
    return t;
  };
  contents.tensors["/params/embedding"] = tensor({5, 3}, 1);
  contents.tensors["/params/block/0/moe/router_weight"] = tensor({4, 3}, 2);
  contents.tensors["/params/block/0/norm"] = tensor({3}, 3);
  contents.tensors["/params/empty"] = tensor({0, 3}, 3);
  contents.tensors["/optimizer/m/embedding"] = tensor({5, 3}, 4);
  return contents;
}

/// The format as its documentation has it, read without any of the program's code.
struct Layout {
  nlohmann::json header;
  std::string data;
};
Layout layout_of(const std::string& file) {
  const std::string bytes = content_of(file);
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length * 256 + static_cast<unsigned char>(bytes.at(static_cast<std::size_t>(i)));
  EXPECT_EQ((8 + length) % 8, 0U);
  return {nlohmann::json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
}

TEST(Safetensors, have_the_layout_of_the_format) {
  const TemporaryFolder folder;
  const CheckpointContents contents = small_contents();
  const std::string path = folder.path("model.safetensors");
  ASSERT_EQ(write_safetensors_model(contents, path, WeightType::f32, 0).size(), 1U);
  const Layout layout = layout_of(path);
  EXPECT_EQ(layout.header.at("__metadata__").at("config.layers"), "2");
  EXPECT_EQ(layout.header.at("__metadata__").at("format"), "pt");
  ASSERT_EQ(layout.header.size(), contents.tensors.size() + 2);  // metadata and the table
  std::map<std::size_t, std::size_t> places;
  for (const auto& [name, entry] : layout.header.items()) {
    if (name == "__metadata__") continue;
    if (entry.at("data_offsets")[0] != entry.at("data_offsets")[1]) {
      places[entry.at("data_offsets")[0].get<std::size_t>()] = entry.at("data_offsets")[1].get<std::size_t>();
    }
  }
  std::size_t at = 0;
  for (const auto& [begin, end] : places) {
    EXPECT_EQ(begin, at);
    at = end;
  }
  EXPECT_EQ(at, layout.data.size());
  const auto& entry = layout.header.at("block.0.moe.router_weight");
  EXPECT_EQ(entry.at("dtype"), "F32");
  EXPECT_EQ(entry.at("shape"), nlohmann::json({4, 3}));
  const std::vector<float>& values = contents.tensors.at("/params/block/0/moe/router_weight").values;
  ASSERT_EQ(values.size(), 12U);
  EXPECT_EQ(std::memcmp(layout.data.data() + entry.at("data_offsets")[0].get<std::size_t>(), values.data(), 48), 0);
}

TEST(Safetensors, come_back_as_they_were) {
  const TemporaryFolder folder;
  const CheckpointContents contents = small_contents();
  for (const Index shard_bytes : {0, 60, 100, 1000}) {
    SCOPED_TRACE(shard_bytes);
    const auto files = write_safetensors_model(contents, folder.path("m.safetensors"), WeightType::f32, shard_bytes);
    EXPECT_EQ(files.size() == 1, shard_bytes == 0 || shard_bytes == 1000);
    const CheckpointContents again = read_safetensors_model(files.back());
    EXPECT_EQ(again.tensors, contents.tensors);
    EXPECT_EQ(pack(again.header), pack(contents.header));
  }
}

TEST(Safetensors, over_several_files_name_each_tensors_file) {
  const TemporaryFolder folder;
  const auto files = write_safetensors_model(small_contents(), folder.path("m.safetensors"), WeightType::f32, 100);
  const auto index = nlohmann::json::parse(content_of(files.back().string()));
  std::size_t total = 0;
  std::size_t named = 0;
  for (std::size_t i = 0; i + 1 < files.size(); ++i) {
    const std::string name = files[i].filename().string();
    EXPECT_EQ(name, fmt::format("m-{:05}-of-{:05}.safetensors", i + 1, files.size() - 1));
    const Layout layout = layout_of(files[i].string());
    EXPECT_LE(layout.data.size(), 100U);
    total += layout.data.size();
    for (const auto& [tensor, entry] : layout.header.items()) {
      if (tensor == "__metadata__") continue;
      EXPECT_EQ(index.at("weight_map").at(tensor), name);
      ++named;
    }
  }
  EXPECT_EQ(index.at("metadata").at("total_size"), total);
  EXPECT_EQ(index.at("weight_map").size(), named);
  folder.write("m.safetensors.index.json", R"({"metadata": {}, "weight_map": {"embedding": "../m.safetensors"}})");
  EXPECT_THROW(static_cast<void>(read_safetensors_model(files.back())), InputError);
}

TEST(Safetensors, in_fewer_bytes_are_near) {
  const TemporaryFolder folder;
  const CheckpointContents contents = small_contents();
  const std::vector<float>& exact = contents.tensors.at("/params/embedding").values;
  for (const WeightType type : {WeightType::bf16, WeightType::int8}) {
    SCOPED_TRACE(name_of(type));
    const auto files = write_safetensors_model(contents, folder.path("m.safetensors"), type, 0);
    const Layout layout = layout_of(files[0].string());
    EXPECT_EQ(layout.header.at("embedding").at("dtype"), type == WeightType::bf16 ? "BF16" : "I8");
    EXPECT_EQ(layout.header.at("block.0.moe.router_weight").at("dtype"), "F32");
    EXPECT_EQ(layout.header.at("optimizer.m.embedding").at("dtype"), "F32");
    const CheckpointContents again = read_safetensors_model(files[0]);
    const std::vector<float>& values = again.tensors.at("/params/embedding").values;
    EXPECT_NE(values, exact);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto row = std::span(exact).subspan(i / 3 * 3, 3);
      float largest = 0.0F;
      for (const float v : row) largest = std::max(largest, std::abs(v));
      // Half a step: of 8 bits of the value, or of 127 steps of the row.
      const float bound = type == WeightType::bf16 ? std::abs(exact[i]) / 256 : largest / 254 * 1.0001F;
      EXPECT_LE(std::abs(values[i] - exact[i]), bound);
    }
    EXPECT_EQ(again.tensors.at("/params/block/0/norm"), contents.tensors.at("/params/block/0/norm"));
    // What was rounded once stays.
    const auto twice = write_safetensors_model(again, folder.path("twice.safetensors"), type, 0);
    EXPECT_EQ(read_safetensors_model(twice[0]).tensors, again.tensors);
  }
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

TEST(Safetensors, that_do_not_hold_are_refused) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) -> std::string {
    folder.write("m.safetensors", bytes);
    try {
      static_cast<void>(read_safetensors_model(folder.path("m.safetensors")));
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(folder.path("m.safetensors")), std::string::npos) << error.what();
      return error.what();
    }
    return "read";
  };
  const std::string one = R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})";
  ASSERT_EQ(message(file_of(one, 8)), "read");
  const auto tensors = [](const std::string& a, const std::string& b) {
    return fmt::format(R"({{"a": {{"dtype": "F32", "shape": [2], "data_offsets": {}}}, )"
                       R"("b": {{"dtype": "F32", "shape": [2], "data_offsets": {}}}}})",
                       a, b);
  };
  ASSERT_EQ(message(file_of(tensors("[8, 16]", "[0, 8]"), 16)), "read");
  const std::string deep = std::string(1000, '[');
  std::string wide = "[0";
  for (int i = 0; i < 1000; ++i) wide += ",0";
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"", "a header of 0"},
      {std::string(7, '\0'), "has 7 bytes"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff") + one, "a header of 18446744073709551615"},
      {file_of(one, 8).substr(0, 30), "and a header of"},
      {file_of(one, 7), "stands at bytes [0, 8) of 7"},
      {file_of(one, 9), "end at byte 8 of 9"},
      {file_of(tensors("[0, 8]", "[4, 12]"), 12), "they overlap"},
      {file_of(tensors("[0, 8]", "[12, 20]"), 20), "there is a hole"},
      {file_of(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})", 8), "of shape [3]"},
      {file_of(R"({"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}})", 0), "of shape"},
      {file_of(R"({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}})", 8), "has shape"},
      {file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}})", 8), "stands at bytes"},
      {file_of(R"({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}})", 8), "has dtype"},
      {file_of(R"({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}})", 8), "is in F64"},
      {file_of(R"({"a": {"dtype": "I8", "shape": [8], "data_offsets": [0, 8]}})", 8), "without a scale"},
      {file_of(R"({"a": {"dtype": "F32", "shape": [2]}})", 8), "tensor 'a' is {"},
      {file_of(R"({"a": 3})", 8), "a number or a text"},
      {file_of(R"({"a": )" + deep, 8), "levels of JSON"},
      {file_of(deep, 8), "levels of JSON"},
      {file_of(R"({"a": )" + wide + "]}", 8), "a list of more than"},
      {file_of("{\"a\": ", 8), "this is no JSON"},
      {file_of("[]", 0), "no JSON object"},
      {file_of(R"({"__metadata__": {"x": 3}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 8),
       "texts"},
      {file_of(R"({"__metadata__": {"integer.step": "x"}})", 0), "is no number"},
      {file_of(one.substr(0, one.size() - 1) + ", " + one.substr(1), 8), "stands twice"}};
  for (const auto& [bytes, expected] : wrong) {
    const std::string found = message(bytes);
    EXPECT_NE(found.find(expected), std::string::npos) << expected << " in: " << found;
  }
}

TEST(Safetensors, cut_anywhere_are_refused) {
  const TemporaryFolder folder;
  static_cast<void>(write_safetensors_model(small_contents(), folder.path("whole.safetensors"), WeightType::f32, 0));
  const std::string bytes = content_of(folder.path("whole.safetensors"));
  ASSERT_GT(bytes.size(), 500U);
  for (std::size_t length = 0; length < bytes.size(); length += 7) {
    folder.write("m.safetensors", bytes.substr(0, length));
    EXPECT_THROW(static_cast<void>(read_safetensors_model(folder.path("m.safetensors"))), InputError) << length;
  }
}

}  // namespace
}  // namespace conclave::train
