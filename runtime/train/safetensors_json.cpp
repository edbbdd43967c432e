// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/safetensors_json.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace conclave::train {
namespace {

constexpr std::size_t deepest = 3;  // tensor, "shape", its sizes
constexpr int most_in_list = 8;
constexpr const char* no_header = "this is no header or index of safetensors files";

/// An object or a list that is being read.
struct Level {
  bool is_list = false;
  int count = 0;  // of a list
  std::set<std::string> keys{};
};

void require_new(Level& object, const std::string& key) {
  if (object.keys.insert(key).second) return;
  throw InputError(fmt::format("key '{}' stands twice in one object", shortened(key)), "leave one");
}

/// For a number or a text: not by itself, not beside tensors, and not in a long list.
void require_room(std::vector<Level>& levels) {
  if (levels.size() < 2) throw InputError("a number or a text stands where there are objects only", no_header);
  if (levels.back().is_list && ++levels.back().count > most_in_list) {
    throw InputError(fmt::format("a list of more than {}", most_in_list), no_header);
  }
}

}  // namespace

Json parse_flat_json(std::string_view text) {
  std::vector<Level> levels;
  const auto notice = [&](int, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    switch (event) {
      case Event::object_start:
        levels.push_back({});
        break;
      case Event::array_start:
        levels.push_back({.is_list = true});
        break;
      case Event::object_end:
      case Event::array_end:
        levels.pop_back();
        return true;
      case Event::key:
        require_new(levels.back(), parsed.get<std::string>());
        return true;
      case Event::value:
        require_room(levels);
        return true;
    }
    if (levels.size() > deepest) throw InputError(fmt::format("more than {} levels of JSON", deepest), no_header);
    return true;
  };
  try {
    Json json = Json::parse(text, notice);
    if (!json.is_object()) throw InputError("this is no JSON object", no_header);
    return json;
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("this is no JSON: {}", shortened(error.what())), "write the file again");
  }
}

void require_keys(std::string_view what, const Json& value, const std::vector<std::string>& keys) {
  const bool has_all = value.is_object() && value.size() == keys.size() &&
                       std::all_of(keys.begin(), keys.end(), [&](const auto& key) { return value.contains(key); });
  if (has_all) return;
  throw InputError(fmt::format("{} is {}", what, shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace))),
                   fmt::format("it has to be an object with the keys {}", fmt::join(keys, ", ")));
}

std::map<std::string, std::string> texts_of(std::string_view what, const Json& value) {
  std::map<std::string, std::string> texts;
  bool has_texts = value.is_object();
  if (has_texts) {
    for (const auto& [key, text] : value.items()) {
      has_texts = has_texts && text.is_string();
      if (has_texts) texts[key] = text.get<std::string>();
    }
  }
  if (!has_texts) throw InputError(fmt::format("{} is no object of texts", what), "write the file again");
  return texts;
}

std::string text_of(const OrderedJson& json) {
  try {
    return json.dump();
  } catch (const OrderedJson::exception& error) {
    throw InputError(fmt::format("a text cannot be written as JSON: {}", error.what()),
                     "names and options have to be UTF-8");
  }
}

std::string shortened(std::string text) {
  constexpr std::size_t most = 120;
  if (text.size() <= most) return text;
  return text.substr(0, most) + "...";
}

}  // namespace conclave::train
