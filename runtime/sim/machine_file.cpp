// SPDX-License-Identifier: BSD-3-Clause
// A calibrated machine as JSON. Reading and writing follow one description of each part's keys.
#include "runtime/sim/json_object.hpp"
#include "runtime/sim/machine.hpp"

#include <cmath>

namespace conclave::sim {
namespace {

// --- What has a fitted quantity behind each key ---

struct FittedKey {
  const char* key;
  Fitted& value;
};

std::vector<FittedKey> keys_of(Rate& r) {
  return {{"s_per_call", r.s_per_call},
          {"s_per_flop", r.s_per_flop},
          {"s_per_byte", r.s_per_byte},
          {"s_per_far_byte", r.s_per_far_byte},
          {"s_per_element", r.s_per_element}};
}
std::vector<FittedKey> keys_of(MessageLine& l) { return {{"latency_s", l.latency_s}, {"Bps", l.Bps}}; }
std::vector<FittedKey> keys_of(SharedMemoryCosts& c) {
  return {{"synchronise_s", c.synchronise_s}, {"copy_Bps", c.copy_Bps}};
}
std::vector<FittedKey> keys_of(FileCosts& c) { return {{"latency_s", c.latency_s}, {"write_Bps", c.write_Bps}}; }

void expect_fitted(const std::string& what, const Fitted& f) {
  const bool is_good = std::isfinite(f.high) && 0.0 <= f.low && f.low <= f.value && f.value <= f.high;
  if (is_good) return;
  throw InputError(fmt::format("{} = [{}, {}, {}]", what, f.value, f.low, f.high),
                   "give the value and the ends of its interval, finite and 0 or more: low <= value <= high");
}

Fitted fitted_of(const std::string& what, const Json& value) {
  Fitted f;
  if (value.is_number()) {
    f.value = f.low = f.high = value.get<double>();
  } else if (value.is_array() && value.size() == 3 &&
             std::ranges::all_of(value, [](const Json& part) { return part.is_number(); })) {
    f = {value[0].get<double>(), value[1].get<double>(), value[2].get<double>()};
  } else {
    throw InputError(fmt::format("{} cannot be {}", what, value.dump()), "give one number, or [value, low, high]");
  }
  expect_fitted(what, f);
  return f;
}

Json json_of(const Fitted& f) {
  if (f.low == f.value && f.high == f.value) return f.value;
  return Json::array({f.value, f.low, f.high});
}

const Json& part_of(const Json& object, const std::string& what, const char* key) {
  if (!object.contains(key)) throw InputError(fmt::format("{} has no '{}'", what, key), "calibrate again, or give it");
  return object[key];
}

void refuse_unknown(const Json& object, const std::string& what, const std::vector<std::string>& known) {
  expect_object(what, object);
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(known, key) == known.end()) refuse_key(what, key, known);
  }
}

void refuse_others(const Json& object, const std::string& what, const std::vector<FittedKey>& keys) {
  std::vector<std::string> known;
  for (const FittedKey& k : keys) known.emplace_back(k.key);
  refuse_unknown(object, what, known);
}

void read_fitted(const Json& object, const std::string& what, const std::vector<FittedKey>& keys) {
  refuse_others(object, what, keys);
  for (const FittedKey& k : keys) k.value = fitted_of(fmt::format("{} {}", what, k.key), part_of(object, what, k.key));
}

// What costs nothing is left out.
Rate rate_of(const Json& object, const std::string& what) {
  Rate rate;
  refuse_others(object, what, keys_of(rate));
  for (const FittedKey& k : keys_of(rate)) {
    if (object.contains(k.key)) k.value = fitted_of(fmt::format("{} {}", what, k.key), object[k.key]);
  }
  return rate;
}

Json json_of(Rate rate) {
  Json object = Json::object();
  for (const FittedKey& k : keys_of(rate)) {
    if (k.value != Fitted{}) object[k.key] = json_of(k.value);
  }
  return object;
}

template <class Part>
Json fitted_json(Part part) {
  Json object = Json::object();
  for (const FittedKey& k : keys_of(part)) object[k.key] = json_of(k.value);
  return object;
}

// A bandwidth of 0 would make everything take for ever.
void expect_rate(const std::string& what, const Fitted& Bps) {
  if (!(Bps.low > 0.0)) {
    throw InputError(fmt::format("{} = {} within [{}, {}]", what, Bps.value, Bps.low, Bps.high), "give more than 0");
  }
}

// --- Parts ---

template <class Part>
Part read_part(const Json& object, const std::string& what) {
  Part part;
  read_fitted(object, what, keys_of(part));
  return part;
}

double number_of(const Json& object, const std::string& what, const char* key) {
  const Json& value = part_of(object, what, key);
  if (value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= 0.0) return value.get<double>();
  throw InputError(fmt::format("{} {} cannot be {}", what, key, value.dump()), "give a finite number, 0 or more");
}

Index count_of(const Json& object, const std::string& what, const char* key) {
  const Json& value = part_of(object, what, key);
  if (value.is_number_integer() && value.get<Index>() >= 1) return value.get<Index>();
  throw InputError(fmt::format("{} {} cannot be {}", what, key, value.dump()), "give a whole number from 1 on");
}

MessageCosts message_costs_of(const Json& object, const std::string& what) {
  refuse_unknown(object, what, {"eager", "rendezvous", "rendezvous_from_bytes", "post_s", "busy_s_per_byte"});
  MessageCosts costs{read_part<MessageLine>(part_of(object, what, "eager"), what + " eager"),
                     read_part<MessageLine>(part_of(object, what, "rendezvous"), what + " rendezvous"),
                     number_of(object, what, "rendezvous_from_bytes"),
                     fitted_of(what + " post_s", part_of(object, what, "post_s"))};
  if (object.contains("busy_s_per_byte")) {
    costs.busy_s_per_byte = fitted_of(what + " busy_s_per_byte", object["busy_s_per_byte"]);
  }
  expect_rate(what + " eager Bps", costs.eager.Bps);
  expect_rate(what + " rendezvous Bps", costs.rendezvous.Bps);
  return costs;
}

Json json_of(const MessageCosts& costs) {
  return {{"eager", fitted_json(costs.eager)},
          {"rendezvous", fitted_json(costs.rendezvous)},
          {"rendezvous_from_bytes", costs.rendezvous_from_bytes},
          {"post_s", json_of(costs.post_s)},
          {"busy_s_per_byte", json_of(costs.busy_s_per_byte)}};
}

Phase phase_of(const std::string& what, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.name == name) return entry.value;
    known.emplace_back(entry.name);
  }
  refuse_key(what, name, known);
}

ComputeRates compute_rates_of(const Json& object) {
  const std::string what = "a compute entry";
  refuse_unknown(object, what, {"active_ranks", "threads", "phases"});
  ComputeRates rates{count_of(object, what, "active_ranks"), count_of(object, what, "threads"), {}};
  const Json& phases = part_of(object, what, "phases");
  expect_object("phases", phases);
  for (const auto& [name, rate] : phases.items()) {
    const Phase phase = phase_of("phases", name);
    if (phase == Phase::wait) {
      throw InputError("phases has a rate of 'wait'", "leave it out: waiting follows from the rest");
    }
    rates.phases[static_cast<std::size_t>(phase)] = rate_of(rate, "phase " + name);
  }
  return rates;
}

Json json_of(const ComputeRates& rates) {
  Json phases = Json::object();
  for (const auto& entry : enum_names(Phase{})) {
    if (rates.of(entry.value) != Rate{}) phases[std::string(entry.name)] = json_of(rates.of(entry.value));
  }
  return {{"active_ranks", rates.active_ranks}, {"threads", rates.threads}, {"phases", phases}};
}

void describe(Provenance& p, OptionTable& table) {
  table.add("version", p.version, "");
  table.add("cpu", p.cpu, "");
  table.add("blas_kernel", p.blas_kernel, "");
  table.add("mpi", p.mpi, "");
  table.add("host", p.host, "");
  table.add("when", p.when, "");
  table.add("ranks", p.ranks, "");
  table.add("threads", p.threads, "");
}

Json json_of(const Provenance& p) {
  return {{"version", p.version}, {"cpu", p.cpu},     {"blas_kernel", p.blas_kernel}, {"mpi", p.mpi}, {"host", p.host},
          {"when", p.when},       {"ranks", p.ranks}, {"threads", p.threads}};
}

// --- The whole ---

void read_compute(const Json& list, Machine& machine) {
  if (!list.is_array() || list.empty()) {
    throw InputError("'compute' is no list of rates", "give one entry for each number of busy ranks that was measured");
  }
  for (const Json& object : list) {
    machine.compute.push_back(compute_rates_of(object));
    if (machine.compute.size() < 2) continue;
    const ComputeRates& last = machine.compute[machine.compute.size() - 2];
    if (last.active_ranks < machine.compute.back().active_ranks) continue;
    throw InputError(fmt::format("a compute entry of active_ranks {} after one of {}",
                                 machine.compute.back().active_ranks, last.active_ranks),
                     "give entries with rising active_ranks");
  }
}

void read_residuals(const Json& object, Machine& machine) {
  expect_object("'residual_sigma'", object);
  for (const auto& [name, value] : object.items()) {
    machine.residual_sigma[static_cast<std::size_t>(phase_of("residual_sigma", name))] =
        number_of(object, "residual_sigma", name.c_str());
  }
}

void read_exchanges(const Json& list, Machine& machine) {
  const std::string what = "an exchange";
  if (!list.is_array()) {
    throw InputError("'exchanges' is no list",
                     "give an object for each exchange and size of messages, or leave it out");
  }
  for (const Json& object : list) {
    refuse_unknown(object, what, {"exchange", "message_bytes", "over_price"});
    const Json& name = part_of(object, what, "exchange");
    if (!name.is_string()) {
      throw InputError(fmt::format("{} exchange cannot be {}", what, name.dump()), "give a strategy's name");
    }
    ExchangeFactor factor{name.get<std::string>(), number_of(object, what, "message_bytes"),
                          fitted_of(what + " over_price", part_of(object, what, "over_price"))};
    expect_rate(what + " over_price", factor.over_price);
    double last = 0.0;
    for (const ExchangeFactor& other : machine.exchanges) {
      if (other.exchange == factor.exchange) last = other.message_bytes;
    }
    if (!(factor.message_bytes > last)) {
      throw InputError(
          fmt::format("{} '{}' of message_bytes {} after one of {}", what, factor.exchange, factor.message_bytes, last),
          "give each strategy's sizes rising, from more than 0");
    }
    machine.exchanges.push_back(std::move(factor));
  }
}

Json json_of(const ExchangeFactor& factor) {
  return {{"exchange", factor.exchange},
          {"message_bytes", factor.message_bytes},
          {"over_price", json_of(factor.over_price)}};
}

Machine machine_of(const Json& object) {
  const std::string what = "a machine";
  refuse_unknown(object, what,
                 {"version", "provenance", "compute", "cache_bytes", "node", "network", "exchanges", "shared_memory",
                  "file", "noise_sigma", "noise_jitter_s", "drift_sigma", "residual_sigma"});
  const Index version = count_of(object, what, "version");
  if (version != machine_file_version) {
    throw InputError(fmt::format("version {} of the format of machines", version),
                     fmt::format("this program reads version {}: calibrate again", machine_file_version));
  }
  Machine machine;
  read_compute(part_of(object, what, "compute"), machine);
  machine.cache_bytes = number_of(object, what, "cache_bytes");
  if (object.contains("node")) machine.node = message_costs_of(object["node"], "node");
  if (object.contains("network")) machine.network = message_costs_of(object["network"], "network");
  if (object.contains("exchanges")) read_exchanges(object["exchanges"], machine);
  if (object.contains("shared_memory")) {
    machine.shared_memory = read_part<SharedMemoryCosts>(object["shared_memory"], "shared_memory");
    expect_rate("shared_memory copy_Bps", machine.shared_memory->copy_Bps);
  }
  if (object.contains("file")) {
    machine.file = read_part<FileCosts>(object["file"], "file");
    expect_rate("file write_Bps", machine.file->write_Bps);
  }
  if (object.contains("noise_sigma")) machine.noise.sigma = number_of(object, what, "noise_sigma");
  if (object.contains("noise_jitter_s")) machine.noise.jitter_s = number_of(object, what, "noise_jitter_s");
  if (object.contains("drift_sigma")) machine.drift_sigma = number_of(object, what, "drift_sigma");
  if (object.contains("residual_sigma")) read_residuals(object["residual_sigma"], machine);
  if (object.contains("provenance")) {
    expect_object("'provenance'", object["provenance"]);
    OptionTable table;
    describe(machine.provenance, table);
    assign(object["provenance"], table, "provenance", {});
  }
  return machine;
}

}  // namespace

Machine read_machine(std::string_view json, std::string_view where) {
  try {
    const Json object = parse_json(json);
    return machine_of(object);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", where, error.what()), error.hint());
  }
}

std::string machine_text(const Machine& machine) {
  Json object{{"version", machine_file_version},    {"provenance", json_of(machine.provenance)},
              {"compute", Json::array()},           {"cache_bytes", machine.cache_bytes},
              {"noise_sigma", machine.noise.sigma}, {"noise_jitter_s", machine.noise.jitter_s},
              {"drift_sigma", machine.drift_sigma}, {"residual_sigma", Json::object()}};
  for (const ComputeRates& rates : machine.compute) object["compute"].push_back(json_of(rates));
  if (machine.node) object["node"] = json_of(*machine.node);
  if (machine.network) object["network"] = json_of(*machine.network);
  for (const ExchangeFactor& factor : machine.exchanges) object["exchanges"].push_back(json_of(factor));
  if (machine.shared_memory) object["shared_memory"] = fitted_json(*machine.shared_memory);
  if (machine.file) object["file"] = fitted_json(*machine.file);
  for (const auto& entry : enum_names(Phase{})) {
    const double sigma = machine.residual_sigma[static_cast<std::size_t>(entry.value)];
    if (sigma != 0.0) object["residual_sigma"][std::string(entry.name)] = sigma;
  }
  std::string text = object.dump(2) + '\n';
  try {
    invariant(read_machine(text, "machine") == machine, "a machine that is read back as another");
  } catch (const InputError& error) {
    invariant(false, "a machine that cannot be read back: {}", error.what());
  }
  return text;
}

}  // namespace conclave::sim
