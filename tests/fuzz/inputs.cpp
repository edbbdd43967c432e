// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/inputs.hpp"

#include "apps/command_line.hpp"
#include "apps/config_file.hpp"
#include "apps/scaling_report.hpp"
#include "apps/scaling_study.hpp"
#include "apps/train_options.hpp"
#include "gating/rule_table.hpp"
#include "runtime/core/duration.hpp"
#include "runtime/core/error.hpp"
#include "runtime/sim/cluster.hpp"
#include "runtime/sim/machine.hpp"
#include "runtime/sim/popularity.hpp"
#include "runtime/train/dataset.hpp"
#include "runtime/train/labelled.hpp"
#include "runtime/train/line_file.hpp"
#include "runtime/train/routing_file.hpp"
#include "runtime/train/safetensors_model.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace conclave::fuzz {
namespace {

/// Bytes as a file without a place on a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : id_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    const bool is_written = id_ >= 0 && ::write(id_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    invariant(is_written, "no file of {} bytes in memory", bytes.size());
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(id_); }
  [[nodiscard]] std::string path() const { return fmt::format("/proc/self/fd/{}", id_); }

 private:
  int id_;
};

void read_duration(std::string_view bytes) {
  const std::optional<Duration> duration = parse_duration(bytes);
  if (!duration) return;
  const std::optional<Duration> again = parse_duration(text_of(*duration));
  invariant(again == duration, "'{}' is read as {} s and written as '{}'", bytes, duration->seconds,
            text_of(*duration));
}

void read_rules(std::string_view bytes) {
  const std::vector<std::string> domains{"code", "prose"};
  const gating::RuleLimits limits{6, 2, domains};
  const gating::RuleTable table(bytes, "rules.txt", limits);
  const gating::RuleTable again(table.text(), "again", {6, 2, {}});
  invariant(again.text() == table.text(), "rules '{}' become '{}'", table.text(), again.text());
  for (std::int32_t token = 0; token < 256; ++token) {
    for (const std::int32_t expert : table.experts_of(token, 1)) {
      invariant(0 <= expert && expert < 6, "expert {} of 6", expert);
    }
  }
}

void read_cluster(std::string_view bytes) {
  const sim::Cluster cluster = sim::read_cluster(bytes, "c.json");
  invariant(cluster.num_ranks() >= 1, "a cluster of {} ranks", cluster.num_ranks());
}

void read_popularity(std::string_view bytes) {
  double sum = 0.0;
  for (const double share : sim::Popularity::read(bytes, 3, "weights").received()) sum += share;
  invariant(sum > 0.0 && sum < 3.0 + 1e-9, "3 ranks receive what {} send", sum);
}

void validate_and_write(const train::TrainOptions& options) {
  train::validate(options);
  // What a run writes down is read back as the same run.
  const std::string text = apps::training_configuration(options);
  train::TrainOptions again;
  apps::OptionSections sections;
  apps::describe_training(again, sections);
  const apps::ConfigFile file("again.ini", text, sections);
  for (const apps::ConfigValue& value : file.values()) {
    invariant(value.option->assign(value.text), "{} does not take its own '{}'", value.where, value.text);
  }
  invariant(apps::training_configuration(again) == text, "a configuration is not read back as it was:\n{}", text);
}

void read_config(std::string_view bytes) {
  train::TrainOptions options;
  apps::OptionSections sections;
  apps::describe_training(options, sections);
  const std::vector<std::string> words{"--config", "run.ini"};
  static_cast<void>(
      apps::parse_command_line(words, false, sections, [&](const std::string&) { return std::string(bytes); }));
  validate_and_write(options);
}

/// A word a line.
void read_command_line(std::string_view bytes) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', at), bytes.size());
    words.emplace_back(bytes.substr(at, end - at));
    at = end + 1;
  }
  train::TrainOptions options;
  apps::OptionSections sections;
  apps::describe_training(options, sections);
  static_cast<void>(apps::parse_command_line(words, true, sections, [](const std::string& path) -> std::string {
    throw InputError(fmt::format("there is no '{}' here", path));
  }));
  validate_and_write(options);
}

/// Every number that a data set gives lies where its model looks for it.
void read_batches(const train::Samples& samples) {
  const model::DataShape shape = samples.shape();
  for (const train::Split split : {train::Split::train, train::Split::validation, train::Split::test}) {
    const Index count = std::min<Index>(samples.num_sequences(split), 4);
    if (count == 0) continue;
    train::Batch batch;
    samples.read_batch(split, 0, count, batch);
    const Index targets = shape.classes > 0 ? shape.classes : shape.vocabulary;
    for (const std::int32_t token : batch.tokens) {
      invariant(0 <= token && token < shape.vocabulary, "token {} of {}", token, shape.vocabulary);
    }
    for (const std::int32_t target : batch.targets) {
      invariant(target == model::no_target || (0 <= target && target < targets), "target {} of {}", target, targets);
    }
  }
}

void read_corpus(std::string_view bytes) {
  const MemoryFile file(bytes);
  train::DataOptions options;
  options.data = file.path();
  read_batches(*train::make_dataset(options, 6, 1));
}

void read_pairs(std::string_view bytes) {
  const MemoryFile file(bytes);
  train::DataOptions options;
  options.data = file.path();
  options.data_format = train::DataFormat::pairs;
  read_batches(*train::make_dataset(options, 12, 1));
}

void read_labelled(std::string_view bytes) {
  const MemoryFile file(bytes);
  train::DataOptions options;
  options.data = file.path();
  read_batches(*train::make_labelled(options, 6, 1, nullptr));
}

void read_metrics(std::string_view bytes) {
  const MemoryFile file(bytes);
  std::vector<std::string> notices;
  const Index length = train::length_up_to(file.path(), 3, notices);
  invariant(0 <= length && length <= std::ssize(bytes), "{} of {} bytes are kept", length, bytes.size());
  static_cast<void>(train::is_step_record(train::last_line(file.path(), length), 3));
}

void read_study(std::string_view bytes) { static_cast<void>(apps::points_in("points", std::string(bytes))); }

void read_predictions(std::string_view bytes) {
  const MemoryFile file(bytes);
  static_cast<void>(apps::prediction_section(apps::read_predictions(file.path()), {}, 0));
}

/// A machine that was read is written as one that is read back as equal: machine_text sees to that.
void read_machine(std::string_view bytes) {
  const sim::Machine machine = sim::read_machine(bytes, "machine");
  static_cast<void>(sim::machine_text(machine));
  static_cast<void>(machine.rates(3));
}

void read_routing(std::string_view bytes) {
  const MemoryFile file(bytes);
  const gating::RoutingTrace trace = train::read_routing(file.path());
  for (const gating::RoutingStep& step : trace.steps) check(trace.sizes, step);
}

/// In front of 24 bytes of tensors.
void read_safetensors_header(std::string_view bytes) {
  const train::SafetensorsHeader header = train::parse_safetensors_header(bytes, 24);
  const train::SafetensorsHeader again = train::parse_safetensors_header(train::safetensors_header_text(header), 24);
  invariant(header.metadata == again.metadata && header.tensors.size() == again.tensors.size(),
            "a header of {} tensors is read back with {}", header.tensors.size(), again.tensors.size());
}

void read_safetensors_index(std::string_view bytes) {
  const train::SafetensorsIndex index = train::parse_safetensors_index(bytes);
  const train::SafetensorsIndex again = train::parse_safetensors_index(train::safetensors_index_text(index));
  invariant(index.file_of == again.file_of, "an index of {} tensors is read back otherwise", index.file_of.size());
}

void read_safetensors(std::string_view bytes) {
  const MemoryFile file(bytes);
  const train::CheckpointContents contents = train::read_safetensors_model(file.path());
  for (const auto& [name, tensor] : contents.tensors) {
    invariant(train::num_elements(tensor.shape) == std::ssize(tensor.values), "{} has {} values", name,
              tensor.values.size());
  }
}

/// A safetensors file with this header.
std::string safetensors_file(const std::string& header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size() % 256);
  bytes[1] = static_cast<char>(header.size() / 256);
  return bytes + header + std::string(data_bytes, 'x');
}

std::vector<std::string> option_names() {
  train::TrainOptions options;
  apps::OptionSections sections;
  apps::describe_training(options, sections);
  std::vector<std::string> words{"=",  "\n",   "#", "\"", "\\x", "nan", "-1", "1e400", "9223372036854775808",
                                 "--", "--no-"};
  for (const Option* option : sections.all()) words.push_back(option->name);
  return words;
}

}  // namespace

std::span<const Input> inputs() {
  static const std::vector<Input> all{
      {"duration",
       read_duration,
       {"90", "1h30m", "2d", "1.5h", "1-12:00:00", "10:30", "0.5s"},
       {"1", "9", "0", ".", ":", "-", "d", "h", "m", "s", "e", "+", "inf", "99999999999999999999"}},
      {"rules",
       read_rules,
       {"token 1-9, 20 -> 0, 1\nclass letter, digit -> 2, 3 # who\ndomain code -> 4, 5\ndefault -> 1, 2",
        "token 3 -> 0,1; default -> 2,3"},
       {"token", "class", "domain", "default", "->", ",", ";", "#", "-", "code", "letter", "4294967296", "\n"}},
      {"cluster",
       read_cluster,
       {R"({"nodes": 4, "ranks_per_node": 2, "nic_Bps": 1e9, "node_bus_Bps": 1e9, "latency_s": 0, "node_latency_s": 0,
            "fabric": {"kind": "fat_tree", "nodes_per_leaf": 2, "leaves": 2, "spines": 1, "link_latency_s": 1e-6},
            "faults": [{"nic": 1, "factor": 0.5}]})",
        R"({"fabric": {"kind": "torus", "dims": [2, 3], "link_Bps": 1e9, "link_latency_s": 0}})"},
       {"nodes", "fabric", "kind", "crossbar", "dragonfly", "{", "}", "[", "]", ",", ":", "null", "-1", "1e999"}},
      {"machine",
       read_machine,
       {R"({"version": 3, "cache_bytes": 1e8, "compute": [{"active_ranks": 1, "threads": 1, "phases": {"experts": {"s_per_call": 0,
            "s_per_flop": [2e-11, 1e-11, 3e-11], "s_per_byte": 1e-10, "s_per_far_byte": 1e-10}}}], "noise_sigma": 0.1,
            "noise_jitter_s": 1e-6, "drift_sigma": 0.1,
            "node": {"eager": {"latency_s": 1e-6, "Bps": 1e9}, "rendezvous": {"latency_s": 2e-6, "Bps": 2e9},
                     "rendezvous_from_bytes": 4096, "post_s": 1e-7}, "residual_sigma": {"wait": 0.2},
            "file": {"latency_s": 0, "write_Bps": 1e8}, "provenance": {"host": "a", "ranks": 2}})"},
       {"version", "compute", "phases", "wait", "shared_memory", "{", "}", "[", "]", ",", ":", "null", "-1", "1e999"}},
      {"routing",
       read_routing,
       {"{\"step\":0,\"routing_trace\":1,\"layers\":1,\"experts\":2,\"groups\":2,\"group_tokens\":4,\"classes\":1}\n"
        "{\"step\":1,\"claimed\":[8,8],\"kept\":[6,5]}\n"},
       {"step", "claimed", "kept", "[", "]", ",", "-1", "1e3", "9223372036854775808", "\n"}},
      {"popularity", read_popularity, {"1 2 3", "1 0 0\n0 1 0\n1 1 2\n"}, {"0", "-", "nan", "inf", "1e308", "\n", ","}},
      {"config",
       read_config,
       {"# a run\nlayers = 2\nwidth = 16\nheads = 2\nout = \"a \\x41 b\"\nexperts = 4\ntop-k = 2\n",
        "router = hash\ncapacity_factor = 1.5\ncheckpoint_every = auto\nmtbf = 3600\nexpert_hidden = 8,16\n"},
       option_names()},
      {"command_line",
       read_command_line,
       {"--layers\n2\n--width=16\n--heads\n2\n--no-noise\n--out\na b", "--experts=4\n--top-k=2\n--\n-x"},
       option_names()},
      {"safetensors",
       read_safetensors,
       {safetensors_file(R"({"__metadata__":{"config.layers":"2","integer.step":"7"},)"
                         R"("a.w":{"dtype":"I8","shape":[2,4],"data_offsets":[0,8]},)"
                         R"("a.w.scale":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                         R"("table.t":{"dtype":"F64","shape":[1,1],"data_offsets":[16,24]}})",
                         24)},
       {"shape", "F32", "I8", "F64", "BF16", ".scale", "table.", "{", "}", "[", "]", ",", "-1", "1e999", "0"}},
      {"safetensors_header",
       read_safetensors_header,
       {R"({"b":{"dtype":"BF16","shape":[3,2],"data_offsets":[12,24]},"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})",
        R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
        R"("b":{"dtype":"I8","shape":[2,8,1],"data_offsets":[8,24]}})"},
       {"__metadata__", "dtype", "shape", "data_offsets", "F32", "{", "}", "[", "]", ",", ":", "-1", "1e999",
        "18446744073709551615", "4611686018427387904"}},
      {"safetensors_index",
       read_safetensors_index,
       {R"({"metadata":{"total_size":24},"weight_map":{"a":"m-00001-of-00002.safetensors","b":"m-00002-of-00002.safetensors"}})"},
       {"metadata", "total_size", "weight_map", "../", "/", ".", "{", "}", "[", "]", ",", ":", "-1", "null"}},
      {"corpus",
       read_corpus,
       {std::string(200, 'a') + "\n\xef\xbb\xbf some text \xff\n" + std::string(100, 'b')},
       {"\n", "\r\n", "\xef\xbb\xbf"}},
      {"metrics",
       read_metrics,
       {"{\"kind\": \"step\", \"step\": 2, \"loss\": 1.5}\n{\"kind\": \"step\", \"step\": 3, \"loss\": null}\n"
        "{\"kind\": \"evaluation\", \"step\": 3}\n{\"kind\": \"step\", \"step\": 4}\n"},
       {"\"kind\"", "\"step\"", "{", "}", "[", "]", ":", ",", "3", "-1", "1e999", "null", "\n"}},
      {"study",
       read_study,
       {"{\"settings\":{}}\n{\"begins\":{\"kind\":\"weak\",\"ranks\":1}}\n{\"point\":{\"kind\":\"weak\",\"ranks\":1},"
        "\"tokens\":64,\"layer\":{\"seconds\":[0.5,0.25],\"calls\":1},\"bare\":{\"seconds\":[0.2],\"calls\":1}}\n"},
       {"point", "seconds", "[]", "{", "}", "[", "]", ",", ":", "null", "-1", "1e999", "0", "\n"}},
      {"predictions",
       read_predictions,
       {R"({"simulation": "run", "tokens": 96, "points": [{"ranks": 4, "step_s": 0.5, "low_s": 0.4, "high_s": 0.6,
            "exposed_s": 0.1, "imbalance_s": 0.05}]})",
        R"({"simulation": "validate", "runs": [{"run": "r", "ranks": 2, "held_out": true, "measured_s": 0.5,
            "predicted_s": 0.4}]})"},
       {"run", "validate", "points", "ranks", "{", "}", "[", "]", ",", ":", "null", "-1", "0", "1e999", "1e-320"}},
      {"labelled",
       read_labelled,
       {"even\tone text\nodd\tanother one\neven\ta third\nodd\tand a fourth\neven\tmore\nodd\tlast\n"},
       {"\t", "\n", "\r\n", "even", "\xef\xbb\xbf", std::string(1, '\0')}},
      {"pairs", read_pairs, {"one\tuno\ntwo\tdue\nthree\ttre\nfour\tquattro\n"}, {"\t", "\n", "\r\n", "\xef\xbb\xbf"}}};
  return all;
}

}  // namespace conclave::fuzz
