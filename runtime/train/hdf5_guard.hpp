// SPDX-License-Identifier: BSD-3-Clause
// What a file from a stranger may not do: lead into other files, or claim more than it holds. For files that include
// hdf5.h themselves.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <hdf5.h>

namespace conclave::train::detail {

/// InputError for a path of more steps than any file has that is meant to be read.
void require_few_steps(const std::string& path, const std::string& what);

/// Whether the name `name` of a group leads to an object; false where there is no such name. InputError where it leads
/// out of the group, perhaps out of the file: a soft or an external link.
[[nodiscard]] bool is_own_link(hid_t group, const char* name, const std::string& what);
[[nodiscard]] InputError leads_elsewhere(const std::string& what);

/// InputError for a shape without values or with more than any file can hold.
void require_possible_shape(hid_t space, const std::string& what);

/// InputError unless the dataset's values stand in this file, all of them, as plain or compressed numbers: not in other
/// files (external storage, virtual datasets), and no more than its bytes can make.
void require_own_values(hid_t file, hid_t dataset, const std::string& what);

/// An object's address in its file: two names with one address are one object.
[[nodiscard]] std::uint64_t address_of(hid_t object, const std::string& what);

}  // namespace conclave::train::detail
