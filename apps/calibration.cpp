// SPDX-License-Identifier: BSD-3-Clause
#include "apps/calibration.hpp"

#include "apps/bench_report.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

double sigma_of(const std::vector<double>& residuals) {
  constexpr std::size_t costs_of_two_lines = 4;
  return residuals.size() > costs_of_two_lines ? sim::robust_sigma(residuals, costs_of_two_lines) : 0.0;
}

// "12.3 (11.8-13.1)"
std::string with_interval(double value, double low, double high) {
  return fmt::format("{:.3g} ({:.3g}-{:.3g})", value, low, high);
}

std::string scaled(const sim::Fitted& s, double factor) {
  if (s.value == 0.0 && s.high == 0.0) return "-";
  return with_interval(factor * s.value, factor * s.low, factor * s.high);
}

std::string giga(const sim::Fitted& Bps) { return with_interval(1e-9 * Bps.value, 1e-9 * Bps.low, 1e-9 * Bps.high); }

std::string percent(double share) { return fmt::format("{:.1f} %", 100.0 * share); }

std::string rates_text(const RatesFit& fit) {
  std::vector<Row> rows{{fmt::format("{} busy ranks a node", fit.rates.active_ranks), "us a call", "ps a flop",
                         "ps a byte", "+ if far", "ns an element", "off by", "9 of 10 within"}};
  for (const PhaseFit& p : fit.phases) {
    rows.push_back({std::string(name_of(p.phase)), scaled(p.fit.costs[0], 1e6), scaled(p.fit.costs[1], 1e12),
                    scaled(p.fit.costs[2], 1e12), scaled(p.fit.costs[3], 1e12), scaled(p.fit.costs[4], 1e9),
                    percent(p.fit.median_residual()), percent(sim::deviations_of_90 * p.fit.residual_sigma)});
  }
  return aligned(rows) +
         fmt::format(
             "  a whole step: off by {}, 9 of 10 within {}; its noise: sigma {}, of a millisecond {}; drift {}\n",
             percent(sim::median_size(fit.residuals)), percent(sim::size_quantile(fit.residuals, 0.9)),
             percent(fit.noise.sigma), percent(fit.noise.deviation_s(1e-3) / 1e-3), percent(fit.drift_sigma));
}

void add_messages(const std::string& where, const std::optional<MessageFit>& fit, std::vector<Row>& rows) {
  if (!fit) return;
  const sim::MessageCosts& c = fit->costs;
  const std::string off = percent(sim::median_size(fit->residuals));
  const auto line = [&](const std::string& what, const sim::MessageLine& l) {
    rows.push_back({fmt::format("{}, {}", where, what), scaled(l.latency_s, 1e6), giga(l.Bps), off});
  };
  if (c.rendezvous_from_bytes == 0.0) {
    line("messages", c.eager);
  } else {
    line(fmt::format("messages below {} bytes", c.rendezvous_from_bytes), c.eager);
    line("larger messages", c.rendezvous);
  }
  rows.push_back({fmt::format("{}, posting a message", where), scaled(c.post_s, 1e6), "", ""});
  rows.push_back(
      {fmt::format("{}, computing meanwhile, for 1000 bytes", where), scaled(c.busy_s_per_byte, 1e9), "", ""});
}

std::string transfers_text(const Calibration& c) {
  std::vector<Row> rows{{"transfers", "us", "GB/s", "off by"}};
  add_messages("node", c.node, rows);
  add_messages("network", c.network, rows);
  if (c.shared_memory) {
    const auto& [all, one, residuals] = *c.shared_memory;
    const std::string off = percent(sim::median_size(residuals));
    rows.push_back({"shared memory, all write", scaled(all.synchronise_s, 1e6), giga(all.copy_Bps), off});
    rows.push_back({"shared memory, one writes", scaled(one.synchronise_s, 1e6), giga(one.copy_Bps), ""});
  }
  rows.push_back({"file, with fsync", scaled(c.file.line.latency_s, 1e6), giga(c.file.line.Bps),
                  percent(sim::median_size(c.file.residuals))});
  return aligned(rows);
}

std::string exchanges_text(const std::vector<sim::ExchangeFactor>& exchanges) {
  if (exchanges.empty()) return {};
  std::vector<Row> rows{
      {"all ranks to all, between nodes", "bytes a message", "over the price by messages of two ranks"}};
  for (const sim::ExchangeFactor& e : exchanges) {
    rows.push_back({e.exchange, fmt::format("{:.0f}", e.message_bytes),
                    with_interval(e.over_price.value, e.over_price.low, e.over_price.high)});
  }
  return aligned(rows);
}

}  // namespace

sim::Machine machine_of(const Calibration& c) {
  sim::Machine machine;
  machine.cache_bytes = c.compute.cache_bytes;
  for (const RatesFit& fit : c.compute.rates) {
    machine.compute.push_back(fit.rates);
    machine.noise = fit.noise;  // of the most busy ranks, which come last: waits are theirs
    machine.drift_sigma = std::max(machine.drift_sigma, fit.drift_sigma);
    for (const PhaseFit& p : fit.phases) {
      double& sigma = machine.residual_sigma[static_cast<std::size_t>(p.phase)];
      sigma = std::max(sigma, p.fit.residual_sigma);
    }
  }
  double& of_wait = machine.residual_sigma[static_cast<std::size_t>(Phase::wait)];
  for (const std::optional<MessageFit>* level : {&c.node, &c.network}) {
    if (*level) of_wait = std::max(of_wait, sigma_of((*level)->residuals));
  }
  if (c.node) machine.node = c.node->costs;
  if (c.network) machine.network = c.network->costs;
  machine.exchanges = c.exchanges;
  if (c.shared_memory) machine.shared_memory = c.shared_memory->costs;
  machine.file = {c.file.line.latency_s, c.file.line.Bps};
  machine.provenance = c.provenance;
  return machine;
}

std::string table_text(const Calibration& c) {
  const sim::Provenance& p = c.provenance;
  std::string out = fmt::format("Calibration of {} by {} ranks x {} threads, {}\n", p.host, p.ranks, p.threads, p.cpu);
  for (const RatesFit& fit : c.compute.rates) out += rates_text(fit);
  out += transfers_text(c) + exchanges_text(c.exchanges);
  out += fmt::format("  memory copies: {:.3g} GB/s of a rank alone, {:.3g} GB/s of each while all copy\n",
                     1e-9 * c.copies.alone_Bps, 1e-9 * c.copies.together_Bps);
  out += fmt::format("  the same steps at the beginning and at the end: {} apart\n", percent(c.noise));
  out += fmt::format("  + if far: for the share m / (m + {:.0f} MB) of bytes where a step goes through m\n",
                     1e-6 * c.compute.cache_bytes);
  out += "  in brackets: what holds the value in 9 of 10 cases; off by: the median error of the shapes and sizes\n";
  for (const RatesFit& fit : c.compute.rates) {
    for (const std::string& doubt : fit.doubts()) out += fmt::format("  {}\n", doubt);
  }
  return out;
}

std::string csv_text(const Calibration& c) {
  std::string out = "active_ranks,phase,shape,calls,flops,bytes,far_bytes,elements,measured_s,fitted_s\n";
  for (const RatesFit& fit : c.compute.rates) {
    for (const PhaseFit& p : fit.phases) {
      for (std::size_t i = 0; i < p.shapes.size(); ++i) {
        const sim::Observation& o = p.observations[i];
        out += fmt::format("{},{},{},{},{},{}\n", fit.rates.active_ranks, name_of(p.phase), p.shapes[i],
                           fmt::join(o.amounts, ","), o.seconds, p.fit.predicted_s(o));
      }
    }
  }
  return out;
}

}  // namespace conclave::apps
