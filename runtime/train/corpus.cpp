// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/corpus.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"

#include <cmath>
#include <numeric>
#include <utility>

namespace conclave::train {
namespace {

constexpr std::string_view all_letters =
    "abcdefghijklmnopqrstuvwxyz \n.,'?"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!\"#$%&()*+-/:;<=>@[\\]^_`{|}~";
constexpr auto max_alphabet = static_cast<Index>(all_letters.size());
constexpr Index max_table_entries = Index{1} << 24;  // 128 MiB of probabilities

// This much of every row is spread evenly over the alphabet, so that every chain is ergodic.
constexpr double even_part = 0.02;

// What a draw of the corpus is for: the last coordinate of its counter.
enum Purpose : Index { table_order = 0, table_spread = 1, sequence_domain = 2, sequence_bytes = 3 };

Random stream(Index seed, Purpose purpose, Index domain = 0) {
  return Random(seed, RandomStream::corpus, domain, purpose);
}

// Uniform in [0, 1) with 53 bits: 32 would round the rare transitions.
double fine_uniform(const Random& random, Index i, Index j) {
  const auto words = random.words(i, j);
  return static_cast<double>((std::uint64_t{words[0]} << 32 | words[1]) >> 11) * 0x1p-53;
}

// The outcome that u in [0, 1) falls on.
Index pick(std::span<const double> probabilities, double u) {
  const auto last = static_cast<Index>(probabilities.size()) - 1;
  for (Index i = 0; i < last; ++i) {
    u -= probabilities[i];
    if (u < 0) return i;
  }
  return last;
}

// - sum p log p [nats] of non-negative weights that sum to `total`.
double entropy_of(std::span<const double> weights, double total) {
  double sum = 0;
  for (const double weight : weights) {
    if (weight > 0) sum -= weight / total * std::log(weight / total);
  }
  return sum;
}

void check(const CorpusOptions& options) {
  if (options.domains < 1) {
    throw InputError(fmt::format("a corpus of {} domains", options.domains), "corpus_domains is 1 or more");
  }
  if (options.alphabet < 2 || options.alphabet > max_alphabet) {
    throw InputError(fmt::format("a corpus over an alphabet of {} symbols", options.alphabet),
                     fmt::format("corpus_alphabet is from 2 to {}", max_alphabet));
  }
  const Index cube = options.alphabet * options.alphabet * options.alphabet;
  if (options.domains > max_table_entries / cube) {
    throw InputError(fmt::format("{} domains over {} symbols need tables of {} entries each", options.domains,
                                 options.alphabet, cube),
                     fmt::format("with this corpus_alphabet, corpus_domains is at most {}", max_table_entries / cube));
  }
  if (!(options.spread >= 0.1 && options.spread <= 1000)) {
    throw InputError(fmt::format("a corpus with a spread of {}", options.spread),
                     "corpus_spread is from 0.1 (nearly certain) to 1000 (nearly even)");
  }
}

}  // namespace

Corpus::Corpus(const CorpusOptions& options, Index seed)
    : domains_(options.domains), alphabet_(options.alphabet), seed_(seed) {
  check(options);
  tables_.resize(domains_ * alphabet_ * alphabet_ * alphabet_);
  pairs_.resize(domains_ * alphabet_ * alphabet_);
  draw_tables(options.spread);
  for (Index d = 0; d < domains_; ++d) find_stationary(d);
  measure();
}

std::string_view Corpus::letters() const { return all_letters.substr(0, alphabet_); }

// P(order[k] | first, second) = (1 - even_part) exp(-k / s) / sum + even_part / alphabet, where `order` is a drawn
// permutation and s is drawn evenly from [spread / 2, 3 spread / 2): pairs differ in how surely they are continued.
void Corpus::draw_tables(double spread) {
  const Index num_pairs = alphabet_ * alphabet_;
  std::vector<Index> order(alphabet_);
  std::vector<double> weights(alphabet_);
  for (Index d = 0; d < domains_; ++d) {
    const Random orders = stream(seed_, table_order, d);
    const Random spreads = stream(seed_, table_spread, d);
    for (Index pair = 0; pair < num_pairs; ++pair) {
      std::iota(order.begin(), order.end(), Index{0});
      for (Index k = alphabet_ - 1; k > 0; --k) {
        std::swap(order[k], order[static_cast<Index>(orders.uniform(pair, k) * static_cast<double>(k + 1))]);
      }
      const double s = spread * (0.5 + spreads.uniform(pair, 0));
      for (Index k = 0; k < alphabet_; ++k) weights[k] = std::exp(-static_cast<double>(k) / s);
      const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
      double* row = &tables_[(d * num_pairs + pair) * alphabet_];
      for (Index k = 0; k < alphabet_; ++k) {
        row[order[k]] = (1 - even_part) * weights[k] / sum + even_part / static_cast<double>(alphabet_);
      }
    }
  }
}

// Power iteration on pairs: pi(b, c) <- sum_a pi(a, b) P(c | a, b), in a fixed order, until it stands still.
void Corpus::find_stationary(Index domain) {
  constexpr Index max_iterations = 1000000;
  constexpr double still = 1e-14;
  const Index num_pairs = alphabet_ * alphabet_;
  double* pi = &pairs_[domain * num_pairs];
  std::fill_n(pi, num_pairs, 1.0 / static_cast<double>(num_pairs));
  std::vector<double> next(num_pairs);
  double change = 1;
  for (Index iteration = 0; change > still; ++iteration) {
    invariant(iteration < max_iterations, "the chain of domain {} still changes by {} after {} iterations", domain,
              change, iteration);
    std::fill(next.begin(), next.end(), 0.0);
    for (Index first = 0; first < alphabet_; ++first) {
      for (Index second = 0; second < alphabet_; ++second) {
        const double weight = pi[first * alphabet_ + second];
        const auto row = successors(domain, first, second);
        for (Index c = 0; c < alphabet_; ++c) next[second * alphabet_ + c] += weight * row[c];
      }
    }
    const double sum = std::accumulate(next.begin(), next.end(), 0.0);
    change = 0;
    for (Index pair = 0; pair < num_pairs; ++pair) {
      const double value = next[pair] / sum;
      change += std::abs(value - pi[pair]);
      pi[pair] = value;
    }
  }
}

// entropy = sum_d P(d) sum_ab pi_d(a, b) H(. | a, b, d);
// blind   = sum_ab pi(a, b) H(. | a, b), with pi(a, b) P(c | a, b) = sum_d P(d) pi_d(a, b) P(c | a, b, d).
void Corpus::measure() {
  const double p_domain = 1.0 / static_cast<double>(domains_);
  std::vector<double> mixed(alphabet_);  // P(first, second, next)
  for (Index first = 0; first < alphabet_; ++first) {
    for (Index second = 0; second < alphabet_; ++second) {
      std::fill(mixed.begin(), mixed.end(), 0.0);
      double mixed_sum = 0;
      for (Index d = 0; d < domains_; ++d) {
        const double weight = p_domain * pairs(d)[first * alphabet_ + second];
        const auto row = successors(d, first, second);
        entropy_ += weight * entropy_of(row, 1.0);
        mixed_sum += weight;
        for (Index c = 0; c < alphabet_; ++c) mixed[c] += weight * row[c];
      }
      blind_entropy_ += mixed_sum * entropy_of(mixed, mixed_sum);
    }
  }
}

Index Corpus::domain(Index sequence) const {
  invariant(0 <= sequence && sequence < max_sequences, "sequence {} of the corpus", sequence);
  return static_cast<Index>(fine_uniform(stream(seed_, sequence_domain), sequence, 0) * static_cast<double>(domains_));
}

void Corpus::generate(Index sequence, std::span<std::int32_t> tokens) const {
  const Index d = domain(sequence);
  const Random bytes = stream(seed_, sequence_bytes);
  const Index pair = pick(pairs(d), fine_uniform(bytes, 0, sequence));
  Index first = pair / alphabet_;
  Index second = pair % alphabet_;
  for (Index position = 0; position < static_cast<Index>(tokens.size()); ++position) {
    if (position >= 2) {
      const Index next = pick(successors(d, first, second), fine_uniform(bytes, position, sequence));
      first = std::exchange(second, next);
    }
    tokens[position] = static_cast<unsigned char>(all_letters[position == 0 ? first : second]);
  }
}

std::span<const double> Corpus::successors(Index domain, Index first, Index second) const {
  return std::span(tables_).subspan(((domain * alphabet_ + first) * alphabet_ + second) * alphabet_, alphabet_);
}

std::span<const double> Corpus::pairs(Index domain) const {
  return std::span(pairs_).subspan(domain * alphabet_ * alphabet_, alphabet_ * alphabet_);
}

}  // namespace conclave::train
