// SPDX-License-Identifier: BSD-3-Clause
// Reference cases that ask for more than there is, or contradict themselves, are refused before anything is computed.
#include "apps/reference_case.hpp"

#include "runtime/core/error.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <hdf5.h>

namespace conclave::apps {
namespace {

using testing::HasSubstr;

class ReferenceCases : public testing::Test {
 protected:
  /// The message with which a case is refused once `change` has worked on it.
  std::string refused(const std::string& name, const std::function<void(hid_t)>& change) {
    const std::string path = folder_.path("case.h5");
    std::filesystem::copy_file(fmt::format("{}/{}.h5", CONCLAVE_CASES, name), path,
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_NO_THROW(static_cast<void>(read_case(path)));
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    change(file);
    EXPECT_GE(H5Fclose(file), 0);
    try {
      static_cast<void>(read_case(path));
    } catch (const InputError& error) {
      EXPECT_FALSE(error.hint().empty());
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return {};
  }

 private:
  train::TemporaryFolder folder_;
};

/// Options stand in a case as texts.
void set_option(hid_t file, const char* name, Index value) {
  const std::string text = fmt::format("{}", value);
  EXPECT_GE(H5Adelete_by_name(file, "/config", name, H5P_DEFAULT), 0) << name;
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, text.size() + 1);
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t attribute = H5Acreate_by_name(file, "/config", name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_GE(H5Awrite(attribute, type, text.c_str()), 0) << name;
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

void set_first_token(hid_t file, Index id) {
  const hid_t set = H5Dopen2(file, "/input/token_ids", H5P_DEFAULT);
  const hid_t space = H5Dget_space(set);
  std::vector<Index> ids(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
  H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids.data());
  ids.at(0) = id;
  EXPECT_GE(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids.data()), 0);
  H5Sclose(space);
  H5Dclose(set);
}

TEST_F(ReferenceCases, with_sizes_that_no_product_can_hold) {
  EXPECT_THAT(refused("tiny", [](hid_t file) { set_option(file, "width", Index{1} << 62); }),
              HasSubstr("of width 4611686018427387904"));
  EXPECT_THAT(refused("tiny", [](hid_t file) { set_option(file, "tokens", Index{1} << 62); }),
              HasSubstr("4611686018427387904 tokens of width"));
}

TEST_F(ReferenceCases, with_a_rule_for_each_of_very_many_tokens_and_no_expert) {
  const auto change = [](hid_t file) {
    set_option(file, "top_k", 0);
    H5Ldelete(file, "/params/rule_table", H5P_DEFAULT);
    const std::array<hsize_t, 2> sizes{1000000, 0};
    const hid_t space = H5Screate_simple(2, sizes.data(), nullptr);
    H5Dclose(H5Dcreate2(file, "/params/rule_table", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  };
  EXPECT_THAT(refused("rule", change), HasSubstr("/params/rule_table has shape [1000000, 0]"));
}

TEST_F(ReferenceCases, with_tokens_outside_of_the_vocabulary_or_without_a_rule) {
  for (const Index id : {Index{-1}, Index{1} << 32, Index{1} << 62}) {
    EXPECT_THAT(refused("tiny", [&](hid_t file) { set_first_token(file, id); }),
                HasSubstr(fmt::format("/input/token_ids has {}", id)));
  }
  const auto without_rule = [](hid_t file) {
    set_option(file, "vocab", 1000000);
    set_first_token(file, 999999);
  };
  EXPECT_THAT(refused("rule", without_rule), HasSubstr("no rule of the case fits token 999999"));
}

}  // namespace
}  // namespace conclave::apps
