// SPDX-License-Identifier: BSD-3-Clause
#include "apps/variations.hpp"

#include "apps/rank_counts.hpp"
#include "apps/router_options.hpp"
#include "apps/training_workload.hpp"
#include "runtime/core/parse_number.hpp"

namespace conclave::apps {
namespace {

constexpr std::string_view fabric_prefix = "fabric.";

std::vector<std::string> names_of(const OptionTable& table, std::string_view prefix) {
  std::vector<std::string> names;
  for (const Option& option : table.options()) names.push_back(std::string(prefix) + option.name);
  return names;
}

/// All keys, by whose they are.
class Keys {
 public:
  explicit Keys(sim::Cluster cluster) {
    train::TrainOptions training;
    OptionSections sections;
    TrainCase described{training, {}};
    describe(described, sections);
    for (const OptionSection& section : sections.sections()) {
      for (const Option& option : section.table.options()) {
        training_.push_back(option.name);
        if (section.title == "Data") data_.insert(option.name);
      }
    }
    data_.insert({"context", "task"});
    OptionTable of_cluster;
    sim::describe(cluster, of_cluster);
    cluster_ = names_of(of_cluster, "");
    OptionTable of_fabric;
    sim::describe(cluster.fabric, of_fabric);
    fabric_ = names_of(of_fabric, fabric_prefix);
  }

  [[nodiscard]] KeyOwner owner(const std::string& key) const {
    const auto has = [&](const std::vector<std::string>& names) { return std::ranges::count(names, key) > 0; };
    if (key == "ranks") return KeyOwner::ranks;
    if (key == "skew") return KeyOwner::skew;
    if (has(cluster_)) return KeyOwner::cluster;
    if (has(fabric_)) return KeyOwner::fabric;
    if (has(training_)) return KeyOwner::training;
    std::vector<std::string> all{"ranks", "skew"};
    for (const auto* names : {&training_, &cluster_, &fabric_}) all.insert(all.end(), names->begin(), names->end());
    throw InputError(fmt::format("vary: nothing is called '{}'{}", key, did_you_mean(nearest_names(key, all))),
                     "vary options of conclave train, ranks, skew, the cluster's keys, or its fabric's as fabric.KEY");
  }
  [[nodiscard]] bool is_of_data(const std::string& key) const { return data_.contains(key); }

 private:
  std::vector<std::string> training_;
  std::vector<std::string> cluster_;
  std::vector<std::string> fabric_;
  std::set<std::string> data_;
};

// What a trace has decided.
const std::set<std::string> of_capacity{"capacity_factor", "capacity_formula", "capacity_scope", "min_capacity",
                                        "overflow",        "priority",         "router",         "top_k"};

void refuse_fixed(const std::string& key, KeyOwner owner, const RoutingSource& routing) {
  if (options_beside_the_step().contains(key)) {
    throw InputError(fmt::format("vary: {} says nothing about a step", key), "leave it out");
  }
  if (routing.trace.empty()) return;
  if (owner == KeyOwner::skew) {
    throw InputError("vary: skew beside a recorded routing", "leave one of them out");
  }
  if (of_capacity.contains(key)) {
    throw InputError(fmt::format("vary: {} has decided already where the recorded tokens went", key),
                     "ask conclave simulate replay, or leave --routing out and give --skew");
  }
}

nlohmann::json json_of(const std::string& text) {
  if (const auto whole = parse_number<Index>(text)) return *whole;
  if (const auto number = parse_number<double>(text)) return *number;
  return text;
}

}  // namespace

std::vector<Variation> parse_variations(const std::vector<std::string>& words) {
  std::vector<Variation> variations;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    const std::string value = equals == std::string::npos ? word : word.substr(equals + 1);
    if (equals != std::string::npos) {
      std::string key = word.substr(0, equals);
      std::ranges::replace(key, '-', '_');
      if (std::ranges::count(variations, key, &Variation::key) > 0) {
        throw InputError(fmt::format("vary: {} is given twice", key), "give all of its values at once: KEY=a,b,c");
      }
      variations.push_back({std::move(key), {}});
    }
    if (variations.empty() || variations.back().key.empty() || value.empty()) {
      throw InputError(fmt::format("vary = '{}'", fmt::join(words, ",")), "give KEY=a,b,c");
    }
    variations.back().values.push_back(value);
  }
  return variations;
}

Grid::Grid(std::vector<Variation> variations) : variations_(std::move(variations)), strides_(variations_.size(), 1) {
  for (std::size_t v = variations_.size(); v-- > 0;) {
    strides_[v] = size_;
    const Index values = std::ssize(variations_[v].values);
    if (values > most_points / size_) {
      throw InputError(fmt::format("vary: more than {} combinations", most_points), "give fewer values");
    }
    size_ *= values;
  }
}

std::vector<std::string> Grid::values(Index point) const {
  std::vector<std::string> result;
  for (Index v = 0; v < std::ssize(variations_); ++v) {
    const Variation& variation = variations_[static_cast<std::size_t>(v)];
    result.push_back(variation.values[static_cast<std::size_t>(choice(point, v))]);
  }
  return result;
}

Variator::Variator(const TrainingSimulation& simulation, const Session& session,
                   const std::vector<Variation>& variations)
    : simulation_(simulation), session_(session), base_(settled(simulation, session)) {
  cluster_text_ = cluster_json(simulation.cluster);
  const Keys known(base_.cluster);
  for (const Variation& variation : variations) {
    keys_.push_back(variation.key);
    owners_.push_back(known.owner(variation.key));
    refuse_fixed(variation.key, owners_.back(), simulation.routing);
    varies_data_ = varies_data_ || (owners_.back() == KeyOwner::training && known.is_of_data(variation.key));
  }
}

sim::Cluster Variator::varied_cluster(const std::vector<std::string>& values) const {
  nlohmann::json cluster = nlohmann::json::parse(cluster_text_);
  for (std::size_t v = 0; v < keys_.size(); ++v) {
    if (owners_[v] == KeyOwner::cluster) cluster[keys_[v]] = json_of(values[v]);
    if (owners_[v] == KeyOwner::fabric) {
      cluster["fabric"][keys_[v].substr(fabric_prefix.size())] = json_of(values[v]);
    }
  }
  return sim::read_cluster(cluster.dump(), fmt::format("cluster {}", simulation_.cluster));
}

void Variator::vary_training(const std::vector<std::string>& values, SettledTraining& s) const {
  TrainCase varied = simulation_.training;
  OptionSections sections;
  describe(varied, sections);
  Session session{session_.world, session_.blas, session_.arguments, session_.given, session_.from_file};
  for (std::size_t v = 0; v < keys_.size(); ++v) {
    if (owners_[v] != KeyOwner::training) continue;
    const Option* option = sections.find(keys_[v]);
    if (!option->assign(values[v])) {
      throw InputError(fmt::format("vary: {} cannot be '{}'", keys_[v], values[v]),
                       fmt::format("it takes {}", option->accepts));
    }
    session.given.insert(keys_[v]);
  }
  settle_router(session, std::nullopt, varied.train);
  train::validate(varied.train);
  if (varies_data_) s.shape = make_samples(varied.train)->shape();
  s.training = varied.train;
  s.workload = training_workload(s.training, s.shape);
}

VariedTraining Variator::training(const std::vector<std::string>& values, Index ranks) const {
  VariedTraining varied{base_, ranks};
  SettledTraining& s = varied.training;
  const auto varies = [&](KeyOwner owner) { return std::ranges::count(owners_, owner) > 0; };
  for (std::size_t v = 0; v < keys_.size(); ++v) {
    if (owners_[v] == KeyOwner::skew) s.routing.skew = values[v];
    if (owners_[v] != KeyOwner::ranks) continue;
    const std::vector<Index> counts = parse_rank_counts(values[v]);
    if (counts.size() != 1) throw InputError(fmt::format("vary: ranks = {}", values[v]), "give single numbers");
    varied.ranks = counts.front();
  }
  if (varies(KeyOwner::cluster) || varies(KeyOwner::fabric)) s.cluster = varied_cluster(values);
  if (varies(KeyOwner::training)) vary_training(values, s);
  if (varies(KeyOwner::training) || varies(KeyOwner::skew)) settle_loads(s);
  if (varied.ranks == 0) varied.ranks = s.cluster.num_ranks();
  return varied;
}

}  // namespace conclave::apps
