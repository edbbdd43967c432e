// SPDX-License-Identifier: BSD-3-Clause
// One of the inputs under libFuzzer, which looks for bytes that reach new code. CONCLAVE_FUZZ_INPUT names it. It begins
// with the seeds and words of the input, in PROGRAM.corpus and PROGRAM.words; what it finds is kept in PROGRAM.corpus,
// or in the folder that the command line names.
#include "tests/fuzz/inputs.hpp"

#include "runtime/core/error.hpp"
#include "tests/support/file_content.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

const Input& input() {
  static const auto found = std::ranges::find(inputs(), std::string_view(CONCLAVE_FUZZ_INPUT), &Input::name);
  if (found == inputs().end()) std::abort();
  return *found;
}

/// A line a word, as libFuzzer reads them.
std::string dictionary(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += '"';
    for (const char byte : word) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    text += "\"\n";
  }
  return text;
}

/// Puts the seeds and words beside the program and names them in its arguments.
void add_seeds(std::vector<std::string>& arguments) {
  const fs::path corpus = arguments.front() + ".corpus";
  const fs::path words = arguments.front() + ".words";
  fs::create_directories(corpus);
  for (std::size_t i = 0; i < input().seeds.size(); ++i) {
    test::write_content(corpus / fmt::format("seed-{}", i), input().seeds[i]);
  }
  test::write_content(words, dictionary(input().words));
  arguments.insert(arguments.begin() + 1, "-dict=" + words.string());
  arguments.push_back(corpus.string());
}

}  // namespace
}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static std::vector<std::string> arguments(*argv, *argv + *argc);
  static std::vector<char*> pointers;
  // Files are inputs to be read once each.
  if (std::ranges::none_of(arguments.begin() + 1, arguments.end(),
                           [](const std::string& word) { return std::filesystem::is_regular_file(word); })) {
    conclave::fuzz::add_seeds(arguments);
  }
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  *argc = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  *argv = pointers.data();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    conclave::fuzz::input().read({reinterpret_cast<const char*>(data), size});
  } catch (const conclave::InputError&) {
  }
  return 0;
}
