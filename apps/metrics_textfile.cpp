// SPDX-License-Identifier: BSD-3-Clause
#include "apps/metrics_textfile.hpp"

#include "runtime/core/error.hpp"
#include "runtime/train/disk_file.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

// Of a label's value.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\' || c == '"') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0.0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

/// The text, metric after metric.
class Exposition {
 public:
  explicit Exposition(const std::string& run) : label_(fmt::format("run=\"{}\"", escaped(run))) {}

  void head(std::string_view name, std::string_view type, std::string_view help) {
    text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }
  void sample(std::string_view name, double value, const std::string& more_labels = {}) {
    text_ += fmt::format("{}{{{}{}}} {}\n", name, label_, more_labels, number_text(value));
  }
  void gauge(std::string_view name, std::string_view help, std::optional<double> value) {
    if (!value) return;
    head(name, "gauge", help);
    sample(name, *value);
  }
  void counter(std::string_view name, std::string_view help, Index value) {
    head(name, "counter", help);
    sample(name, static_cast<double>(value));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string label_;
  std::string text_;
};

}  // namespace

std::string exposition_text(const RunMetrics& m) {
  Exposition out(m.run);
  out.gauge("conclave_step", "Steps done.", static_cast<double>(m.step));
  out.gauge("conclave_planned_steps", "Steps that the run is to have.", static_cast<double>(m.steps));
  out.gauge("conclave_loss", "Cross entropy of the last step, in nats per token or sample.", m.loss);
  out.gauge("conclave_validation_loss", "Cross entropy on held-out data, in nats per token or sample.",
            m.validation_loss);
  out.gauge("conclave_learning_rate", "Learning rate of the last step.", m.learning_rate);
  out.gauge("conclave_tokens_per_second", "Speed of the last step.", m.tokens_per_s);
  out.gauge("conclave_time_left_seconds", "Time until the last planned step, at the mean speed so far.", m.time_left_s);
  out.gauge("conclave_written_timestamp_seconds", "When this file was written, Unix time.", m.written_at_s);
  out.counter("conclave_tokens_total", "Tokens trained on since this start of the program.", m.tokens);
  out.counter("conclave_dropped_claims_total", "Choices of tokens that got no slot of an expert, over all layers.",
              m.dropped_claims);
  out.counter("conclave_unserved_tokens_total", "Tokens that no expert of a layer served, over all layers.",
              m.unserved_tokens);
  out.counter("conclave_checkpoints_total", "Checkpoints saved.", m.checkpoints);
  out.counter("conclave_skipped_steps_total", "Steps that changed nothing.", m.skipped_steps);
  constexpr std::string_view phases = "conclave_phase_seconds_total";
  out.head(phases, "counter", "Time that steps spent in each phase, mean over ranks.");
  for (const auto& entry : enum_names(Phase{})) {
    out.sample(phases, m.phase_s[static_cast<std::size_t>(entry.value)], fmt::format(",phase=\"{}\"", entry.name));
  }
  return out.text();
}

MetricsTextfile::MetricsTextfile(std::filesystem::path path, const std::string& folder, Index first_step, Index steps,
                                 Tell tell, double every_s)
    : path_(std::move(path)), tell_(std::move(tell)), every_s_(every_s), first_step_(first_step) {
  metrics_.run = folder;
  metrics_.step = first_step;
  metrics_.steps = steps;
}

void MetricsTextfile::add(const train::StepRecord& step) {
  if (path_.empty()) return;
  metrics_.step = step.step;
  if (step.step > first_step_) {
    const double step_s = seconds_since(start_) / static_cast<double>(step.step - first_step_);
    metrics_.time_left_s = step_s * static_cast<double>(metrics_.steps - step.step);
  }
  for (std::size_t p = 0; p < num_phases; ++p) metrics_.phase_s[p] += step.phases[p].mean_s;
  if (step.skipped.empty()) {
    metrics_.loss = step.loss;
    metrics_.learning_rate = step.learning_rate;
    metrics_.tokens_per_s = step.tokens_per_s();
    metrics_.tokens += step.tokens;
    for (const model::LayerStatistics& layer : step.layers) {
      metrics_.dropped_claims += layer.over_capacity + layer.refused_second;
      metrics_.unserved_tokens += layer.unserved;
    }
  } else {
    ++metrics_.skipped_steps;
  }
  if (!written_at_ || seconds_since(*written_at_) >= every_s_) write();
}

void MetricsTextfile::add(const train::Evaluation& evaluation) {
  if (evaluation.split == train::Split::validation) metrics_.validation_loss = evaluation.loss;
}

void MetricsTextfile::close() {
  if (!path_.empty()) write();
}

void MetricsTextfile::write() {
  written_at_ = Clock::now();
  metrics_.written_at_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  try {
    train::replace_file(path_, std::string_view(exposition_text(metrics_)));
  } catch (const InputError& error) {
    if (!has_failed_) tell_(fmt::format("metrics_textfile: {}; the run goes on, and tries again", error.what()));
    has_failed_ = true;
  }
}

}  // namespace conclave::apps
