// SPDX-License-Identifier: BSD-3-Clause
// The JSON of safetensors files and their indices: objects of objects, of texts and of short lists, and nothing deeper.
#pragma once

#include "runtime/core/error.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::train {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

/// A text as a JSON object. InputError if it is none, where an object has a key twice, and for more levels or longer
/// lists than such files have: a hostile text takes no more memory than one with as many tensors.
[[nodiscard]] Json parse_flat_json(std::string_view text);

/// InputError, naming `what`, unless the value is an object of just these keys.
void require_keys(std::string_view what, const Json& value, const std::vector<std::string>& keys);

/// An object of texts. InputError, naming `what`, if the value is anything else.
[[nodiscard]] std::map<std::string, std::string> texts_of(std::string_view what, const Json& value);

/// JSON on one line. InputError for texts that are no UTF-8.
[[nodiscard]] std::string text_of(const OrderedJson& json);

/// A text for a message: its beginning, if it is long.
[[nodiscard]] std::string shortened(std::string text);

}  // namespace conclave::train
