// SPDX-License-Identifier: BSD-3-Clause
// Files that were made to mislead: they name other files, never end, or claim more than they hold.
#include "runtime/train/hdf5.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <array>
#include <functional>

namespace conclave::train {
namespace {

constexpr std::array<float, 4> secret{1.0F, 2.0F, 3.0F, 4.0F};

class Hdf5Guard : public testing::Test {
 protected:
  /// A file with the dataset /g/x that `change` has worked on, and another one beside it that it may lead to.
  std::string made(const std::function<void(hid_t)>& change) {
    for (const char* name : {"other.h5", "made.h5"}) {
      std::filesystem::remove(folder_.path(name));
      Hdf5File file = Hdf5File::create(folder_.path(name));
      file.write<float>("/g/x", {4}, secret);
      file.close();
    }
    folder_.write("other.bin", std::string(16, 'x'));
    const hid_t file = H5Fopen(folder_.path("made.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    change(file);
    EXPECT_GE(H5Fclose(file), 0);
    return folder_.path("made.h5");
  }
  /// The message with which `work` on the file is refused.
  std::string refused(const std::function<void(hid_t)>& change, const std::function<void(const Hdf5File&)>& work) {
    const Hdf5File file = Hdf5File::open(made(change));
    try {
      work(file);
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("made.h5"), std::string::npos) << error.what();
      EXPECT_FALSE(error.hint().empty());
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return {};
  }
  [[nodiscard]] std::string path(const char* name) const { return folder_.path(name); }

 private:
  TemporaryFolder folder_;
};

void read_y(const Hdf5File& file) { static_cast<void>(file.read<float>("/g/y")); }

/// A dataset /g/y of floats, made with these properties.
void create_y(hid_t file, const std::vector<hsize_t>& shape, const std::function<void(hid_t)>& properties) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  properties(creation);
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t set = H5Dcreate2(file, "/g/y", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  EXPECT_GE(set, 0);
  H5Dclose(set);
  H5Sclose(space);
  H5Pclose(creation);
}

TEST_F(Hdf5Guard, reads_what_is_as_it_should_be) {
  const Hdf5File file = Hdf5File::open(made([](hid_t) {}));
  EXPECT_EQ(file.read<float>("/g/x").size(), 4U);
  EXPECT_EQ(file.datasets("/"), std::vector<std::string>{"/g/x"});
  EXPECT_EQ(file.datasets("/g/x"), std::vector<std::string>{"/g/x"});
}

TEST_F(Hdf5Guard, follows_no_link_to_another_file_or_name) {
  const std::string other = "other.h5";
  const std::vector<std::function<void(hid_t)>> links{
      [&](hid_t file) { H5Lcreate_external(other.c_str(), "/g/x", file, "/g/y", H5P_DEFAULT, H5P_DEFAULT); },
      [](hid_t file) { H5Lcreate_soft("/g/x", file, "/g/y", H5P_DEFAULT, H5P_DEFAULT); },
      [](hid_t file) { H5Lcreate_soft("/g/y", file, "/g/y", H5P_DEFAULT, H5P_DEFAULT); },
      [](hid_t file) { H5Lcreate_soft("nowhere", file, "/g/y", H5P_DEFAULT, H5P_DEFAULT); }};
  for (const auto& link : links) {
    EXPECT_NE(refused(link, read_y).find("/g/y of "), std::string::npos);
    EXPECT_NE(refused(link, [](const Hdf5File& file) { (void)file.members("/g"); }).find("leads elsewhere"),
              std::string::npos);
    EXPECT_NE(refused(link, [](const Hdf5File& file) { (void)file.datasets("/"); }).find("leads elsewhere"),
              std::string::npos);
  }
  // A group on the way.
  const auto in_between = [](hid_t file) {
    H5Lcreate_external("other.h5", "/g", file, "/h", H5P_DEFAULT, H5P_DEFAULT);
  };
  EXPECT_NE(refused(in_between, [](const Hdf5File& file) { (void)file.read<float>("/h/x"); }).find("leads elsewhere"),
            std::string::npos);
}

TEST_F(Hdf5Guard, ends_in_a_group_that_contains_itself) {
  const auto cycle = [](hid_t file) { H5Lcreate_hard(file, "/g", file, "/g/again", H5P_DEFAULT, H5P_DEFAULT); };
  EXPECT_NE(refused(cycle, [](const Hdf5File& file) { (void)file.datasets("/"); }).find("contains itself"),
            std::string::npos);
  const auto twice = [](hid_t file) { H5Lcreate_hard(file, "/g/x", file, "/g/y", H5P_DEFAULT, H5P_DEFAULT); };
  EXPECT_NE(refused(twice, [](const Hdf5File& file) { (void)file.datasets("/"); }).find("another name"),
            std::string::npos);
}

TEST_F(Hdf5Guard, reads_no_values_from_other_files) {
  const std::string raw = path("other.bin");
  const std::string virtually = path("other.h5");
  const auto external = [&](hid_t file) {
    create_y(file, {4}, [&](hid_t creation) { H5Pset_external(creation, raw.c_str(), 0, 16); });
  };
  EXPECT_NE(refused(external, read_y).find("values elsewhere"), std::string::npos);
  const auto mapped = [&](hid_t file) {
    const hsize_t size = 4;
    const hid_t space = H5Screate_simple(1, &size, nullptr);
    create_y(file, {4}, [&](hid_t creation) { H5Pset_virtual(creation, space, virtually.c_str(), "/g/x", space); });
    H5Sclose(space);
  };
  EXPECT_NE(refused(mapped, read_y).find("values elsewhere"), std::string::npos);
}

TEST_F(Hdf5Guard, takes_no_memory_for_values_that_are_not_there) {
  const auto sparse = [](hid_t file) {
    create_y(file, {hsize_t{1} << 40}, [](hid_t creation) {
      const hsize_t chunk = 1024;
      H5Pset_chunk(creation, 1, &chunk);
    });
  };
  EXPECT_NE(refused(sparse, read_y).find("claims the shape [1099511627776]"), std::string::npos);
  const auto late = [](hid_t file) { create_y(file, {hsize_t{1} << 40}, [](hid_t) {}); };
  EXPECT_NE(refused(late, read_y).find("claims the shape [1099511627776]"), std::string::npos);
  const auto overflowing = [](hid_t file) {
    create_y(file, {hsize_t{1} << 31, hsize_t{1} << 31, 4}, [](hid_t creation) {
      const std::array<hsize_t, 3> chunk{1, 1, 4};
      H5Pset_chunk(creation, 3, chunk.data());
    });
  };
  EXPECT_NE(refused(overflowing, read_y).find("more than a file can hold"), std::string::npos);
  // Only where a shape may grow are chunks larger than it.
  const auto growing = [](hid_t file) {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk = hsize_t{1} << 29;
    H5Pset_chunk(creation, 1, &chunk);
    H5Pset_deflate(creation, 1);
    const hsize_t now = 4;
    const hsize_t most = H5S_UNLIMITED;
    const hid_t space = H5Screate_simple(1, &now, &most);
    H5Dclose(H5Dcreate2(file, "/g/y", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(creation);
  };
  EXPECT_NE(refused(growing, read_y).find("chunks of"), std::string::npos);
}

/// Texts of variable length as /g/y; returns where in the file their references begin [bytes].
std::size_t create_texts(hid_t file, const std::vector<std::string>& texts) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  const hsize_t size = texts.size();
  const hid_t space = H5Screate_simple(1, &size, nullptr);
  const hid_t set = H5Dcreate2(file, "/g/y", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  EXPECT_GE(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), 0);
  const haddr_t begin = H5Dget_offset(set);
  EXPECT_NE(begin, HADDR_UNDEF);
  H5Dclose(set);
  H5Sclose(space);
  H5Tclose(type);
  return begin;
}

TEST_F(Hdf5Guard, takes_no_memory_for_one_text_named_many_times) {
  std::vector<std::string> texts(100, "x");
  texts[0].assign(10000, 'y');
  std::size_t begin = 0;
  const std::string file = made([&](hid_t id) { begin = create_texts(id, texts); });
  EXPECT_EQ(Hdf5File::open(file).read<std::string>("/g/y"), texts);
  std::string bytes = test::content_of(file);
  constexpr std::size_t reference_bytes = 16;  // length, address and number of what is named
  const std::string first = bytes.substr(begin, reference_bytes);
  for (std::size_t i = 1; i < texts.size(); ++i) bytes.replace(begin + i * reference_bytes, reference_bytes, first);
  ASSERT_LT(bytes.size(), texts.size() * texts[0].size());
  test::write_content(file, bytes);
  try {
    static_cast<void>(Hdf5File::open(file).read<std::string>("/g/y"));
    ADD_FAILURE() << "nothing was refused";
  } catch (const InputError& error) {
    EXPECT_NE(error.hint().find("longer together than the file"), std::string::npos) << error.hint();
  }
}

TEST_F(Hdf5Guard, reads_no_texts_from_a_damaged_heap) {
  const std::vector<std::string> texts{"one", "another", std::string(5000, 'z'), ""};
  std::size_t names = 0;
  const std::string file = made([&](hid_t id) { names = create_texts(id, texts); });
  EXPECT_EQ(Hdf5File::open(file).read<std::string>("/g/y"), texts);
  const std::string sound = test::content_of(file);
  const std::size_t heap = sound.find("GCOL");
  ASSERT_NE(heap, std::string::npos);
  constexpr std::size_t before_text = 16;  // its number, references and size
  const std::size_t first = sound.find(texts[0], heap) - before_text;
  const std::string zeros(16, '\0');
  const std::string many(8, '\x7f');
  struct Damage {
    std::size_t at;
    std::string bytes;
    const char* told;
  };
  const std::vector<Damage> all{{heap, "gcol", "no signature"},
                                {heap + 8, many, "claims"},
                                {heap + 8, zeros.substr(0, 8), "claims 0 bytes"},
                                {first, zeros, "0 bytes of object 0"},  // HDF5 1.10 runs on without end
                                {first + 8, std::string(8, '\xff'), "where there is room for"},
                                {first + 8, "\x02", "has 2 bytes of object"},
                                {names, "\x02", "a text of 2"},
                                {names + 4, many, "beyond the file's end"},
                                {names + 12, "\x63", "has no object 99"},  // HDF5 1.10 crashes
                                {names + 12, zeros.substr(0, 4), "has no object 0"}};
  for (const Damage& damage : all) {
    std::string bytes = sound;
    bytes.replace(damage.at, damage.bytes.size(), damage.bytes);
    test::write_content(file, bytes);
    try {
      static_cast<void>(Hdf5File::open(file).read<std::string>("/g/y"));
      ADD_FAILURE() << "nothing was refused; expected: " << damage.told;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(damage.told), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("/g/y of "), std::string::npos) << error.what();
    }
  }
}

TEST_F(Hdf5Guard, takes_no_attribute_without_a_value_for_zero) {
  const auto empty = [](hid_t file) {
    const hid_t space = H5Screate(H5S_NULL);
    H5Aclose(H5Acreate2(file, "nothing", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  };
  const auto read = [](const Hdf5File& file) { (void)file.attribute<std::int64_t>("/", "nothing"); };
  EXPECT_NE(refused(empty, read).find("has no value"), std::string::npos);
}

TEST_F(Hdf5Guard, reads_compressed_values) {
  const auto compressed = [](hid_t file) {
    create_y(file, {100000}, [](hid_t creation) {
      const hsize_t chunk = 50000;
      H5Pset_chunk(creation, 1, &chunk);
      H5Pset_deflate(creation, 9);
      H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    });
    const std::vector<float> same(100000, 3.0F);
    const hid_t set = H5Dopen2(file, "/g/y", H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, same.data());
    H5Dclose(set);
  };
  EXPECT_EQ(Hdf5File::open(made(compressed)).read<float>("/g/y"), std::vector<float>(100000, 3.0F));
}

}  // namespace
}  // namespace conclave::train
