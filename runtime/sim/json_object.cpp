// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/json_object.hpp"

#include <algorithm>
#include <set>

namespace conclave::sim {

Json parse_json(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto notice = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw InputError(fmt::format("key '{}' stands twice in one object", parsed.get<std::string>()), "leave one");
    }
    return true;
  };
  try {
    return Json::parse(text, notice);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("this is no JSON: {}", error.what()), "see README for an example of such a file");
  }
}

void expect_object(std::string_view what, const Json& value) {
  if (!value.is_object()) {
    throw InputError(fmt::format("{} is {}, no object", what, value.dump()), "write {\"key\": value, ...}");
  }
}

void refuse_key(std::string_view what, const std::string& key, const std::vector<std::string>& known) {
  throw InputError(fmt::format("{} has no key '{}'{}", what, key, did_you_mean(nearest_names(key, known))),
                   fmt::format("its keys are {}", fmt::join(known, ", ")));
}

std::string text_of(const std::string& key, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const Json& part : value) {
      if (part.is_number()) parts.push_back(part.dump());
    }
    if (parts.size() == value.size()) return fmt::format("{}", fmt::join(parts, ","));
  }
  throw InputError(fmt::format("'{}' cannot be {}", key, value.dump()), "give a number, a word, or a list of numbers");
}

void assign(const Json& object, OptionTable& table, std::string_view what, const std::vector<std::string>& elsewhere) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(elsewhere.begin(), elsewhere.end(), key) != elsewhere.end()) continue;
    const Option* option = table.find(key);
    if (option == nullptr) {
      std::vector<std::string> known = elsewhere;
      for (const Option& o : table.options()) known.push_back(o.name);
      refuse_key(what, key, known);
    }
    const std::string text = text_of(key, value);
    // A word for a number would let "nan" in.
    const bool takes_words = option->accepts.starts_with("one of") || option->accepts.starts_with("a text");
    if (value.is_string() != takes_words || !option->assign(text)) {
      throw InputError(fmt::format("'{}' cannot be '{}'", key, text), fmt::format("it takes {}", option->accepts));
    }
  }
}

}  // namespace conclave::sim
