// SPDX-License-Identifier: BSD-3-Clause
// A synthetic corpus with hidden domains, whose entropy is known exactly: each sequence comes from one of several
// order-2 Markov sources over readable bytes. A model's loss can be held against the entropy, and its experts against
// the domains.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace conclave::train {

struct CorpusOptions {
  Index domains = 4;          // Markov sources, equally likely
  Index alphabet = 32;        // symbols: letters first, then space, newline, punctuation, capitals, digits
  double spread = 1.5;        // about how many successors of a pair of bytes are likely; more is harder to predict
  Index sequences = 1000000;  // distinct sequences, the held-out ones among them
};

/// The sources and all their sequences; immutable, safe to read from many threads.
///
/// Every draw is a function of (seed, sequence number, position): any sequence is made alone, by any rank, in any
/// order. Its first two bytes come from its source's stationary distribution, so that every position has the same
/// statistics.
class Corpus {
 public:
  static constexpr Index max_sequences = Index{1} << 32;  // sequence numbers are below this

  /// Draws the tables and computes entropies. InputError for options out of range.
  Corpus(const CorpusOptions& options, Index seed);

  [[nodiscard]] Index domains() const { return domains_; }
  [[nodiscard]] Index alphabet() const { return alphabet_; }
  /// The symbols of the alphabet as bytes; symbol s is letters()[s].
  [[nodiscard]] std::string_view letters() const;

  /// The source of a sequence, in [0, domains).
  [[nodiscard]] Index domain(Index sequence) const;
  /// The first tokens.size() bytes of a sequence, as many as wanted. A shorter reading is a prefix of a longer one.
  void generate(Index sequence, std::span<std::int32_t> tokens) const;

  /// The entropy of a byte given the two before it and the domain [nats/token]: the floor of every model's loss.
  /// A model has to infer the domain, and the first target of a window has one byte before it instead of two; the mean
  /// loss over a window therefore stays above the floor and approaches it as the context grows.
  [[nodiscard]] double entropy() const { return entropy_; }
  /// The entropy of a byte given the two before it but not the domain [nats/token]: what a model reaches that does not
  /// tell the domains apart. Equal to entropy() for one domain.
  [[nodiscard]] double blind_entropy() const { return blind_entropy_; }

  /// P(next | first, second) in a domain, by symbol. [alphabet], sums to 1, all positive.
  [[nodiscard]] std::span<const double> successors(Index domain, Index first, Index second) const;
  /// The stationary P(first, second) in a domain, by pair of symbols. [alphabet * alphabet], sums to 1.
  [[nodiscard]] std::span<const double> pairs(Index domain) const;

 private:
  void draw_tables(double spread);
  void find_stationary(Index domain);
  void measure();

  Index domains_;
  Index alphabet_;
  Index seed_;
  double entropy_ = 0;
  double blind_entropy_ = 0;
  std::vector<double> tables_;  // [domains, alphabet, alphabet, alphabet]: domain, first, second, next
  std::vector<double> pairs_;   // [domains, alphabet, alphabet]: domain, first, second
};

}  // namespace conclave::train
