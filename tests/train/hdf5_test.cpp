// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hdf5.hpp"

#include "runtime/core/random.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>
#include <limits>

namespace conclave::train {
namespace {

namespace fs = std::filesystem;
using test::content_of;

class Hdf5Test : public testing::Test {
 protected:
  [[nodiscard]] fs::path file(const std::string& name) const { return folder_.path(name); }

 private:
  TemporaryFolder folder_;
};

/// The message of the InputError that `work` must throw.
template <class Work>
std::string input_error(Work&& work) {
  try {
    work();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return {};
}

std::vector<float> random_values(Index count) {
  const Random random(11, RandomStream::initial);
  std::vector<float> values;
  for (Index i = 0; i < count; ++i) values.push_back(static_cast<float>(random.normal(i, 0)));
  return values;
}

template <class T>
void expect_attribute_round_trip(const fs::path& path, const std::vector<T>& values) {
  {
    Hdf5File out = Hdf5File::create(path);
    out.create_group("/a/b");
    for (std::size_t i = 0; i < values.size(); ++i) out.write_attribute("/a/b", fmt::format("x{}", i), values[i]);
    out.close();
  }
  const Hdf5File in = Hdf5File::open(path);
  ASSERT_EQ(in.attributes("/a/b").size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(in.attribute<T>("/a/b", fmt::format("x{}", i)), values[i]);
  }
}

TEST_F(Hdf5Test, AttributesKeepTheirValues) {
  expect_attribute_round_trip<float>(file("f.h5"), {0.1F, -3e38F, 1e-45F});
  expect_attribute_round_trip<double>(file("d.h5"), {0.1, -1e308, std::numeric_limits<double>::infinity()});
  expect_attribute_round_trip<std::int32_t>(file("i.h5"), {0, std::numeric_limits<std::int32_t>::min()});
  expect_attribute_round_trip<std::int64_t>(file("l.h5"), {-1, std::numeric_limits<std::int64_t>::max()});
  expect_attribute_round_trip<std::uint64_t>(file("u.h5"), {0, std::numeric_limits<std::uint64_t>::max()});
  // More than eight attributes, and one longer than 64 KiB, are stored in other ways.
  std::vector<std::string> texts(20, "plain");
  texts[0] = "";
  texts[1] = "Gewicht × Größe — 重み";
  texts[2] = std::string(100'000, 'x');
  expect_attribute_round_trip<std::string>(file("s.h5"), texts);
}

TEST_F(Hdf5Test, AttributesAreListedWithTheirTypes) {
  Hdf5File out = Hdf5File::create(file("a.h5"));
  out.write_attribute("/", "b", 1.5);
  out.write_attribute("/", "a", std::int64_t{3});
  out.write_attribute("/", "c", std::string("text"));
  EXPECT_EQ(out.attributes("/"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(out.attribute_type("/", "a"), Hdf5Type::int64);
  EXPECT_EQ(out.attribute_type("/", "b"), Hdf5Type::float64);
  EXPECT_EQ(out.attribute_type("/", "c"), Hdf5Type::text);
  out.rewrite_attribute("/", "a", std::int64_t{4});
  EXPECT_EQ(out.attribute<std::int64_t>("/", "a"), 4);
  EXPECT_TRUE(out.has_attribute("/", "a"));
  EXPECT_FALSE(out.has_attribute("/", "z"));
}

TEST_F(Hdf5Test, FixedTextsOfOtherWritersAreRead) {
  const hid_t out = H5Fcreate(file("fixed.h5").c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t count = 2;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  for (const H5T_str_t pad : {H5T_STR_NULLPAD, H5T_STR_NULLTERM, H5T_STR_SPACEPAD}) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 6);
    H5Tset_strpad(type, pad);
    const hid_t data = H5Dcreate2(out, fmt::format("/{}", static_cast<int>(pad)).c_str(), type, space, H5P_DEFAULT,
                                  H5P_DEFAULT, H5P_DEFAULT);
    const std::string values = pad == H5T_STR_SPACEPAD ? "ab c  longer" : std::string("ab c\0\0longe\0", 12);
    ASSERT_EQ(values.size(), 12U);
    ASSERT_GE(H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    H5Dclose(data);
    H5Tclose(type);
  }
  H5Sclose(space);
  ASSERT_GE(H5Fclose(out), 0);
  const Hdf5File in = Hdf5File::open(file("fixed.h5"));
  for (const H5T_str_t pad : {H5T_STR_NULLPAD, H5T_STR_NULLTERM, H5T_STR_SPACEPAD}) {
    const std::string second = pad == H5T_STR_SPACEPAD ? "longer" : "longe";
    EXPECT_EQ(in.read<std::string>(fmt::format("/{}", static_cast<int>(pad))),
              (std::vector<std::string>{"ab c", second}));
  }
}

template <class T>
void expect_dataset_round_trip(const fs::path& path, const std::vector<T>& six) {
  ASSERT_EQ(six.size(), 6U);
  const std::vector<std::pair<std::vector<Index>, Index>> shapes = {
      {{}, 1}, {{6}, 6}, {{2, 3}, 6}, {{0}, 0}, {{3, 0}, 0}};
  {
    Hdf5File out = Hdf5File::create(path);
    for (const auto& [shape, count] : shapes) {
      out.write<T>(fmt::format("/deep/er/{}-{}", shape.size(), count), shape,
                   std::span<const T>(six).first(static_cast<std::size_t>(count)));
    }
    out.close();
  }
  const Hdf5File in = Hdf5File::open(path);
  EXPECT_EQ(in.members("/deep/er").size(), shapes.size());
  for (const auto& [shape, count] : shapes) {
    const std::string name = fmt::format("/deep/er/{}-{}", shape.size(), count);
    EXPECT_EQ(in.shape(name), shape);
    EXPECT_EQ(in.read<T>(name), std::vector<T>(six.begin(), six.begin() + count)) << name;
  }
}

TEST_F(Hdf5Test, DatasetsKeepTheirValuesAndShapes) {
  expect_dataset_round_trip<float>(file("f.h5"), {1, 2, 3, 0.1F, -5, 6});
  expect_dataset_round_trip<double>(file("d.h5"), {1, 2, 3, 0.1, -5, 6});
  expect_dataset_round_trip<std::int32_t>(file("i.h5"), {1, -2, 3, 4, 5, 6});
  expect_dataset_round_trip<std::int64_t>(file("l.h5"), {1, -2, 3, 4, 5, std::int64_t{1} << 60});
  expect_dataset_round_trip<std::uint64_t>(file("u.h5"), {1, 2, 3, 4, 5, ~std::uint64_t{0}});
  expect_dataset_round_trip<std::string>(file("s.h5"), {"a", "", "ccc", "ü", "e", "f"});
}

TEST_F(Hdf5Test, EveryRangeOfEveryShapeIsReadAndWritten) {
  Hdf5File out = Hdf5File::create(file("r.h5"));
  int num_ranges = 0;
  for (const std::vector<Index>& shape :
       std::vector<std::vector<Index>>{{7}, {4, 5}, {5, 1}, {3, 4, 5}, {2, 1, 3, 2}}) {
    const Index size = num_elements(shape);
    const std::vector<float> values = random_values(size);
    const std::string name = fmt::format("/whole/{}", num_ranges);
    out.write<float>(name, shape, values);
    const std::string target = fmt::format("/pieces/{}", num_ranges);
    const std::vector<float> zeros(static_cast<std::size_t>(size));
    out.write<float>(target, shape, zeros);
    for (Index begin = 0; begin <= size; ++begin) {
      for (Index end = begin; end <= size; ++end, ++num_ranges) {
        std::vector<float> expected(values.begin() + begin, values.begin() + end);
        std::vector<float> part(expected.size());
        out.read_range(name, {begin, end}, part.data());
        ASSERT_EQ(part, expected) << name << " [" << begin << ", " << end << ")";
        out.write_range<float>(target, {begin, end}, expected.data());
        std::vector<float> all = zeros;
        std::copy(expected.begin(), expected.end(), all.begin() + begin);
        ASSERT_EQ(out.read<float>(target), all) << target << " [" << begin << ", " << end << ")";
        out.write_range<float>(target, {0, size}, zeros.data());
      }
    }
  }
  EXPECT_GT(num_ranges, 2000);
}

TEST_F(Hdf5Test, NumbersAreWidenedAndNeverNarrowed) {
  Hdf5File out = Hdf5File::create(file("w.h5"));
  const std::vector<float> f{1.5F};
  const std::vector<double> d{0.1};
  const std::vector<std::int32_t> i{-3};
  const std::vector<std::int64_t> l{-4};
  const std::vector<std::uint64_t> u{5};
  out.write<float>("/f", {1}, f);
  out.write<double>("/d", {1}, d);
  out.write<std::int32_t>("/i", {1}, i);
  out.write<std::int64_t>("/l", {1}, l);
  out.write<std::uint64_t>("/u", {1}, u);
  EXPECT_EQ(out.read<double>("/f")[0], 1.5);
  EXPECT_EQ(out.read<std::int64_t>("/i")[0], -3);
  EXPECT_EQ(out.read<double>("/l")[0], -4.0);
  EXPECT_NE(input_error([&] { (void)out.read<float>("/d"); }).find("does not fit"), std::string::npos);
  EXPECT_NE(input_error([&] { (void)out.read<std::int32_t>("/l"); }).find("does not fit"), std::string::npos);
  EXPECT_NE(input_error([&] { (void)out.read<std::int64_t>("/u"); }).find("does not fit"), std::string::npos);
  EXPECT_NE(input_error([&] { (void)out.read<std::uint64_t>("/i"); }).find("does not fit"), std::string::npos);
  EXPECT_NE(input_error([&] { (void)out.read<std::int64_t>("/f"); }).find("does not fit"), std::string::npos);
  EXPECT_NE(input_error([&] { (void)out.read<std::string>("/f"); }).find("not text"), std::string::npos);
}

TEST_F(Hdf5Test, WhatIsThereIsTold) {
  Hdf5File out = Hdf5File::create(file("t.h5"));
  const std::vector<float> one{1.0F};
  out.write<float>("/b/x", {}, one);
  out.create_group("/a/deeper");
  EXPECT_TRUE(out.exists("/"));
  EXPECT_TRUE(out.exists("/b/x"));
  EXPECT_TRUE(out.exists("/a/deeper"));
  EXPECT_FALSE(out.exists("/c"));
  EXPECT_FALSE(out.exists("/c/d/e"));
  EXPECT_TRUE(out.is_group("/b"));
  EXPECT_FALSE(out.is_group("/b/x"));
  EXPECT_EQ(out.members("/"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(out.members("/a/deeper"), std::vector<std::string>{});
  EXPECT_EQ(out.type("/b/x"), Hdf5Type::float32);
}

TEST_F(Hdf5Test, FailuresSpeakForThemselvesAndPrintNothing) {
  testing::internal::CaptureStderr();
  EXPECT_NE(input_error([&] { (void)Hdf5File::open(file("none.h5")); }).find("there is no file"), std::string::npos);
  std::ofstream(file("text.h5")) << "this is not HDF5 but text of some length";
  EXPECT_NE(input_error([&] { (void)Hdf5File::open(file("text.h5")); }).find("not an HDF5 file"), std::string::npos);
  std::ofstream(file("empty.h5")).flush();
  EXPECT_NE(input_error([&] { (void)Hdf5File::open(file("empty.h5")); }).find("not an HDF5 file"), std::string::npos);
  {
    Hdf5File out = Hdf5File::create(file("a.h5"));
    out.write_attribute("/", "once", 1.0);
    EXPECT_NE(input_error([&] { out.write_attribute("/", "once", 2.0); }).find("already exists"), std::string::npos);
    EXPECT_NE(input_error([&] { out.write_attribute("/", "zero", std::string(3, '\0')); }).find("zero byte"),
              std::string::npos);
    const std::string missing = input_error([&] { (void)out.read<float>("/not/there"); });
    EXPECT_NE(missing.find("/not/there of '"), std::string::npos);
    EXPECT_NE(missing.find("component not found"), std::string::npos) << missing;
    out.write<float>("/x", {1000}, random_values(1000));
    out.close();
  }
  EXPECT_NE(input_error([&] { (void)Hdf5File::create(file("a.h5")); }).find("cannot create"), std::string::npos);
  fs::resize_file(file("a.h5"), fs::file_size(file("a.h5")) - 500);
  EXPECT_NE(input_error([&] { (void)Hdf5File::open(file("a.h5")); }).find("truncated"), std::string::npos);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(Hdf5Test, EqualContentsMakeEqualBytes) {
  for (const char* name : {"one.h5", "two.h5"}) {
    Hdf5File out = Hdf5File::create(file(name));
    out.write<float>("/group/x", {10, 10}, random_values(100));
    out.write_attribute("/group", "note", std::string("text"));
    out.close();
  }
  EXPECT_GT(content_of(file("one.h5")).size(), 400U);
  EXPECT_EQ(content_of(file("one.h5")), content_of(file("two.h5")));
}

}  // namespace
}  // namespace conclave::train
