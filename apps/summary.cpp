// SPDX-License-Identifier: BSD-3-Clause
#include "apps/summary.hpp"

#include "apps/text_curve.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace conclave::apps {
namespace {

std::string bar(double share, Index width) {
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width) + 0.5);
  return std::string(filled, '#');
}

// The load of each expert as a block, from none to the fullest one's.
std::string load_picture(const std::vector<Index>& load) {
  const std::vector<double> means = means_of({load.begin(), load.end()}, 48);
  const double most = std::max(1.0, *std::max_element(means.begin(), means.end()));
  std::string line;
  for (const double mean : means) line += mean == 0.0 ? "." : text_block(mean / most);
  return line;
}

}  // namespace

std::string expert_costs(model::Model<float>& model, const train::OptimizerOptions& optimizer) {
  Index own = 0;
  Index shared = 0;
  Index unshared = 0;  // parameters, if nothing were shared
  for (const model::MoeLayer<float>* layer : model.moe_layers()) {
    shared += layer->base().size();
    std::vector<experts::ExpertShape> whole = layer->shape().experts;
    for (experts::ExpertShape& shape : whole) shape.delta_rank = 0;
    for (ExpertId e; e < ExpertId{layer->map().num_experts()}; ++e) {
      own += layer->expert_parameters(e).size();
      unshared += experts::expert_parameters(whole, "", e).size();
    }
  }
  const std::size_t arrays = 2 + train::make_optimizer(optimizer)->states().size();  // values, gradient, states
  const auto mebibytes = [&](Index parameters) {
    return static_cast<double>(parameters) * static_cast<double>(arrays * sizeof(float)) / (1 << 20);
  };
  const std::string costs =
      fmt::format("experts: {} parameters, {} of them shared; {:.2f} MiB of values, gradient and optimizer state",
                  own + shared, shared, mebibytes(own + shared));
  return shared == 0 ? costs : fmt::format("{}, {:.2f} MiB unshared", costs, mebibytes(unshared));
}

void RunSummary::add(const train::StepRecord& step) {
  ++num_steps_;
  if (!step.skipped.empty()) {
    skipped_.push_back(step.step);
    return;
  }
  last_ = step;
  losses_.push_back(step.loss);
  layers_.resize(step.layers.size());
  for (std::size_t l = 0; l < layers_.size(); ++l) layers_[l].add(step.layers[l]);
  if (losses_.size() == 1) {
    first_step_ = step.step;
    return;
  }
  ++timed_steps_;
  tokens_ += step.tokens;
  seconds_ += step.seconds;
  for (std::size_t p = 0; p < num_phases; ++p) phase_seconds_[p] += step.phases[p].mean_s;
  communication_s_ += step.communication.mean_s;
  attribution_.add(step.attribution);
  waiting_.add(step);
}

std::string RunSummary::text(const train::TrainOptions& options, std::optional<double> entropy,
                             std::span<const ExpertMap> maps) const {
  if (losses_.empty()) return skipped();
  std::string out = skipped() + losses(entropy) + times() + attribution();
  if (const std::string sentence = waited_for(options, maps); !sentence.empty()) {
    out += fmt::format("  {}\n", sentence);
  }
  return out + layers(options);
}

void RunSummary::go_back() {
  RunSummary anew;
  anew.times_back_ = times_back_ + 1;
  *this = std::move(anew);
}

std::string RunSummary::skipped() const {
  std::string out;
  if (!skipped_.empty()) {
    out = fmt::format("\nSkipped: {} of {} steps ({})\n", skipped_.size(), num_steps_, fmt::join(skipped_, ", "));
  }
  if (times_back_ > 0) out += fmt::format("\nTimes that the run went back: {}\n", times_back_);
  return out;
}

std::string RunSummary::losses(std::optional<double> entropy) const {
  std::string out = fmt::format("\nTraining loss, steps {} to {}: {:.3f} to {:.3f} {}\n  {}\n", first_step_, last_.step,
                                losses_.front(), losses_.back(), last_.loss_unit, text_curve(losses_, 72));
  out += fmt::format("\nLoss after step {} [{}]\n", last_.step, last_.loss_unit);
  out += fmt::format("  {:<34}{:8.4f}\n", "training, last step", last_.loss);
  if (evaluation_) {
    out += fmt::format("  {:<34}{:8.4f}   over {}\n", "held out", evaluation_->loss, evaluation_->size_text());
  }
  if (entropy) {
    const double loss = evaluation_ ? evaluation_->loss : last_.loss;
    out += fmt::format("  {:<34}{:8.4f}   the loss is {:.4f} above it\n", "entropy of the source, the floor", *entropy,
                       loss - *entropy);
  }
  return out;
}

std::string RunSummary::times() const {
  if (timed_steps_ == 0 || seconds_ <= 0.0) return "";
  std::string out = fmt::format("\nSpeed: {:.0f} tokens/s, {:.2f} ms a step ({} steps, the first left out)\n",
                                static_cast<double>(tokens_) / seconds_,
                                1e3 * seconds_ / static_cast<double>(timed_steps_), timed_steps_);
  out += "Where the time goes, mean over ranks (dispatch, combine and reduce may wait until others have made room)\n";
  double accounted = 0.0;
  for (const double s : phase_seconds_) accounted += s;
  for (const auto& entry : enum_names(Phase{})) {
    const double seconds = phase_seconds_[static_cast<std::size_t>(entry.value)];
    const double share = accounted > 0.0 ? seconds / accounted : 0.0;
    out += fmt::format("  {:<12}{:6.1f} %{:10.3f} ms  {}\n", entry.name, 100.0 * share,
                       1e3 * seconds / static_cast<double>(timed_steps_), bar(share, 40));
  }
  const double exposed = phase_seconds_[static_cast<std::size_t>(Phase::wait)];
  out +=
      fmt::format("  communication {:.3f} ms a step, each exchange by itself; of it exposed (the phase {}) {:.3f} ms\n",
                  1e3 * communication_s_ / static_cast<double>(timed_steps_), name_of(Phase::wait),
                  1e3 * exposed / static_cast<double>(timed_steps_));
  return out;
}

// In the words of simulations.
std::string RunSummary::attribution() const {
  const double total_s = attribution_.total_s();
  if (timed_steps_ == 0 || total_s <= 0.0) return "";
  const auto share = [&](double seconds) { return 100.0 * seconds / total_s; };
  std::string out = fmt::format(
      "Of ranks' time: compute {:.1f} %, exposed communication {:.1f} %, waiting for the slowest rank {:.1f} %, "
      "data and checkpoints {:.1f} %\n",
      share(attribution_.compute_s), share(attribution_.exposed_s), share(attribution_.imbalance_s),
      share(attribution_.io_s));
  for (std::size_t l = 0; l < attribution_.layers.size(); ++l) {
    const train::Attribution::Layer& layer = attribution_.layers[l];
    const double ms = 1e3 / static_cast<double>(timed_steps_);
    out += fmt::format("  layer {:<4}compute {:9.3f} ms  exposed {:9.3f} ms  imbalance {:9.3f} ms\n", l,
                       ms * layer.compute_s, ms * layer.exposed_s, ms * layer.imbalance_s);
  }
  return out;
}

std::string RunSummary::layers(const train::TrainOptions& options) const {
  if (layers_.empty()) return "";
  const gating::RouterOptions& router = options.model.router;
  std::string out = fmt::format("\nRouting in training: {}, top-{} of {} experts, capacity factor {}{}\n",
                                router.router, router.top_k, router.experts, router.capacity_factor,
                                router.capacity_factor == 0.0 ? " (no limit)" : "");
  out += "  layer   dropped   left out   load max/mean   effective   dead   entropy   load by expert (. none)\n";
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const model::LayerStatistics& s = layers_[l];
    out += fmt::format("  {:<8}{:6.2f} %{:9.2f} %{:16.2f}{:12.2f}{:7}{:10.3f}   {}\n", l, 100.0 * s.drop_rate(),
                       100.0 * s.unserved_rate(), s.imbalance(), s.effective_experts(), s.dead_experts(), s.entropy,
                       load_picture(s.load));
  }
  out += "  dropped: share of claims without a slot; left out: share of tokens without any expert\n";
  if (!evaluation_) return out;
  out += fmt::format("Held out, capacity factor {}: dropped", router.eval_capacity_factor);
  for (const model::LayerStatistics& s : evaluation_->layers) out += fmt::format(" {:.2f} %", 100.0 * s.drop_rate());
  out += ", left out";
  for (const model::LayerStatistics& s : evaluation_->layers) {
    out += fmt::format(" {:.2f} %", 100.0 * s.unserved_rate());
  }
  out += " (by layer)\n";
  if (!evaluation_->layer_agreement.empty()) {
    out += "What a token's expert tells about its expert in the next MoE layer (0 nothing, 1 all):";
    for (const double agreement : evaluation_->layer_agreement) out += fmt::format(" {:.3f}", agreement);
    out += "\n";
  }
  if (evaluation_->domains_seen == 1) {
    out += "The held-out tokens are of one domain: what experts tell about domains does not show.\n";
  } else if (!evaluation_->domain_information.empty()) {
    out += "What an expert tells about a token's domain (0 nothing, 1 all; corrected for few tokens), by layer:";
    for (const double information : evaluation_->domain_information) out += fmt::format(" {:.3f}", information);
    out += "\n  all would be [bits]:";
    for (const double bits : evaluation_->domain_most_bits) out += fmt::format(" {:.3f}", bits);
    out += "\n";
  }
  return out;
}

}  // namespace conclave::apps
