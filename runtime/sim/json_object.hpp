// SPDX-License-Identifier: BSD-3-Clause
// Files of the simulator are JSON objects whose keys are described as options are: what stands in them is read, checked
// and refused in one way.
#pragma once

#include "runtime/core/options.hpp"

#include <nlohmann/json.hpp>

namespace conclave::sim {

using Json = nlohmann::json;

/// A text as JSON. InputError if it is none, and where one object has a key twice: its last value would win in silence.
[[nodiscard]] Json parse_json(std::string_view text);

/// InputError, naming `what`, unless the value is an object.
void expect_object(std::string_view what, const Json& value);
/// InputError, naming `what`, the key and the nearest of `known`, which are all that the object may have.
[[noreturn]] void refuse_key(std::string_view what, const std::string& key, const std::vector<std::string>& known);

/// A number, a word or a list of numbers as an option's text: "0.5", "fat_tree", "3,5,5". InputError for anything else.
[[nodiscard]] std::string text_of(const std::string& key, const Json& value);

/// Gives the described members their values. `elsewhere`: keys of the object that are read by others. InputError for
/// keys that are not described, and for values that a key does not take.
void assign(const Json& object, OptionTable& table, std::string_view what, const std::vector<std::string>& elsewhere);

}  // namespace conclave::sim
