// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/corpus.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <string>

namespace conclave::train {
namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

std::vector<std::int32_t> sequence_of(const Corpus& corpus, Index number, Index size) {
  std::vector<std::int32_t> tokens(size, -1);
  corpus.generate(number, tokens);
  return tokens;
}

// Tokens back to numbers of symbols.
std::vector<Index> symbols_of(const Corpus& corpus, Index number, Index size) {
  std::vector<Index> symbols;
  for (const std::int32_t token : sequence_of(corpus, number, size)) {
    const auto symbol = corpus.letters().find(static_cast<char>(token));
    EXPECT_NE(symbol, std::string_view::npos) << "token " << token;
    symbols.push_back(static_cast<Index>(symbol));
  }
  return symbols;
}

double row_entropy(std::span<const double> row) {
  double sum = 0;
  for (const double p : row) sum -= p * std::log(p);
  return sum;
}

struct MeanAndError {
  double mean;
  double standard_error;
};

MeanAndError mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

TEST(Corpus, RowsArePositiveAndSumToOne) {
  const Corpus corpus({.domains = 3, .alphabet = 7}, 1);
  for (Index d = 0; d < 3; ++d) {
    for (Index pair = 0; pair < 49; ++pair) {
      const auto row = corpus.successors(d, pair / 7, pair % 7);
      ASSERT_EQ(row.size(), 7U);
      for (const double p : row) EXPECT_GT(p, 0.001);
      EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 1.0, 16 * eps);
    }
  }
}

TEST(Corpus, PairsAreStationary) {
  const Index a = 9;
  const Corpus corpus({.domains = 2, .alphabet = a}, 3);
  for (Index d = 0; d < 2; ++d) {
    const auto pi = corpus.pairs(d);
    EXPECT_NEAR(std::accumulate(pi.begin(), pi.end(), 0.0), 1.0, 1e-14);
    double spread = 0;
    for (Index b = 0; b < a; ++b) {
      for (Index c = 0; c < a; ++c) {
        double flow = 0;
        for (Index first = 0; first < a; ++first) flow += pi[first * a + b] * corpus.successors(d, first, b)[c];
        EXPECT_NEAR(flow, pi[b * a + c], 1e-13);
        spread += std::abs(pi[b * a + c] - 1.0 / (a * a));
      }
    }
    EXPECT_GT(spread, 0.1) << "pairs that are all equally likely test nothing";
  }
}

TEST(Corpus, EntropyIsTheStationaryMeanOfTheRows) {
  const Index a = 8;
  const Corpus corpus({.domains = 3, .alphabet = a}, 5);
  double expected = 0;
  for (Index d = 0; d < 3; ++d) {
    for (Index pair = 0; pair < a * a; ++pair) {
      expected += corpus.pairs(d)[pair] * row_entropy(corpus.successors(d, pair / a, pair % a)) / 3;
    }
  }
  EXPECT_NEAR(corpus.entropy(), expected, 1e-13);
}

// The mean surprise of generated text under the true tables is the entropy, within the error of the mean over
// independent sequences.
TEST(Corpus, GeneratedTextHasTheEntropy) {
  for (const double spread : {0.3, 1.5, 6.0}) {
    const Corpus corpus({.domains = 4, .alphabet = 16, .spread = spread}, 11);
    std::vector<double> surprises;
    for (Index n = 0; n < 3000; ++n) {
      const auto s = symbols_of(corpus, n, 66);
      double sum = 0;
      for (Index t = 2; t < 66; ++t) sum -= std::log(corpus.successors(corpus.domain(n), s[t - 2], s[t - 1])[s[t]]);
      surprises.push_back(sum / 64);
    }
    const auto [mean, error] = mean_of(surprises);
    EXPECT_NEAR(mean, corpus.entropy(), 5 * error) << "spread " << spread;
    EXPECT_LT(error, 0.01 * corpus.entropy()) << "too few samples to tell anything";
  }
}

// Without the domain, the best guess is the mixture of the tables; with one domain nothing is lost.
TEST(Corpus, BlindEntropyIsThatOfTheMixture) {
  const Index a = 6;
  const Corpus corpus({.domains = 3, .alphabet = a}, 2);
  double joint = 0;  // H(first, second, next) - H(first, second)
  for (Index first = 0; first < a; ++first) {
    for (Index second = 0; second < a; ++second) {
      double pair = 0;
      for (Index d = 0; d < 3; ++d) pair += corpus.pairs(d)[first * a + second] / 3;
      joint += pair * std::log(pair);
      for (Index next = 0; next < a; ++next) {
        double p = 0;
        for (Index d = 0; d < 3; ++d) {
          p += corpus.pairs(d)[first * a + second] * corpus.successors(d, first, second)[next] / 3;
        }
        joint -= p * std::log(p);
      }
    }
  }
  EXPECT_NEAR(corpus.blind_entropy(), joint, 1e-13);
  EXPECT_GT(corpus.blind_entropy(), corpus.entropy() + 0.1);
  EXPECT_LT(corpus.blind_entropy(), std::log(static_cast<double>(a)));
  const Corpus one({.domains = 1, .alphabet = a}, 2);
  EXPECT_NEAR(one.blind_entropy(), one.entropy(), 1e-13);
}

TEST(Corpus, TheDefaultIsFarFromNoise) {
  const CorpusOptions options;
  const Corpus corpus(options, 0);
  EXPECT_GT(corpus.entropy(), 1.2);
  EXPECT_LT(corpus.entropy(), 1.6);
  EXPECT_GT(corpus.blind_entropy(), 2.0);
  EXPECT_LT(corpus.blind_entropy(), std::log(static_cast<double>(options.alphabet)));
  for (const std::int32_t token : sequence_of(corpus, 0, 1000)) {
    EXPECT_TRUE(token == '\n' || (token >= 32 && token < 127)) << token;
  }
}

TEST(Corpus, MoreSpreadIsMoreEntropy) {
  double last = 0;
  for (const double spread : {0.1, 0.5, 1.0, 2.0, 4.0, 1000.0}) {
    const Corpus corpus({.alphabet = 12, .spread = spread}, 7);
    EXPECT_GT(corpus.entropy(), last);
    last = corpus.entropy();
  }
  EXPECT_NEAR(last, std::log(12.0), 1e-3);
}

// Pearson's statistic of the pairs at several places of the sequences of each domain.
TEST(Corpus, EveryPositionHasTheStationaryPairs) {
  const Index a = 5;
  const Index num_sequences = 30000;
  const Corpus corpus({.domains = 2, .alphabet = a}, 13);
  for (const Index position : {0, 1, 2, 9}) {
    for (Index d = 0; d < 2; ++d) {
      std::vector<double> counts(a * a, 0.0);
      double total = 0;
      for (Index n = 0; n < num_sequences; ++n) {
        if (corpus.domain(n) != d) continue;
        const auto s = symbols_of(corpus, n, position + 2);
        counts[s[position] * a + s[position + 1]] += 1;
        total += 1;
      }
      ASSERT_GT(total, num_sequences / 3);
      double statistic = 0;
      for (Index pair = 0; pair < a * a; ++pair) {
        const double expected = total * corpus.pairs(d)[pair];
        ASSERT_GT(expected, 5);
        statistic += (counts[pair] - expected) * (counts[pair] - expected) / expected;
      }
      const double freedom = a * a - 1;
      EXPECT_LT(statistic, freedom + 6 * std::sqrt(2 * freedom)) << "position " << position << ", domain " << d;
    }
  }
}

TEST(Corpus, DomainsAreEquallyLikelyAndDiffer) {
  const Corpus corpus({.domains = 5, .alphabet = 6}, 17);
  std::vector<double> counts(5, 0.0);
  for (Index n = 0; n < 20000; ++n) counts[corpus.domain(n)] += 1;
  for (const double count : counts) EXPECT_NEAR(count, 4000, 5 * std::sqrt(4000));
  for (Index d = 1; d < 5; ++d) {
    double distance = 0;
    for (Index pair = 0; pair < 36; ++pair) {
      for (Index next = 0; next < 6; ++next) {
        distance +=
            std::abs(corpus.successors(d, pair / 6, pair % 6)[next] - corpus.successors(0, pair / 6, pair % 6)[next]);
      }
    }
    EXPECT_GT(distance / 36, 0.5);
  }
}

TEST(Corpus, BytesDependOnNothingButTheirNumber) {
  const CorpusOptions options{.domains = 3, .alphabet = 20};
  const Corpus corpus(options, 23);
  std::vector<std::vector<std::int32_t>> forward;
  for (Index n = 0; n < 50; ++n) forward.push_back(sequence_of(corpus, n, 40));
  EXPECT_EQ(std::set(forward.begin(), forward.end()).size(), 50U);
  const Corpus again(options, 23);
  for (Index n = 49; n >= 0; --n) {
    const Index size = n % 41;
    const auto shorter = sequence_of(again, n, size);
    EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), forward[n].begin())) << "sequence " << n;
  }
  EXPECT_NE(sequence_of(Corpus(options, 24), 0, 40), forward[0]);
  corpus.generate(0, {});
}

TEST(Corpus, SequencesAtTheEndOfTheirRangeDiffer) {
  const Corpus corpus({}, 1);
  const auto last = sequence_of(corpus, Corpus::max_sequences - 1, 40);
  EXPECT_NE(last, sequence_of(corpus, Corpus::max_sequences / 2 - 1, 40));
  EXPECT_NE(last, sequence_of(corpus, 0, 40));
  EXPECT_THROW((void)corpus.domain(Corpus::max_sequences), InvariantError);
  EXPECT_THROW((void)corpus.domain(-1), InvariantError);
}

TEST(Corpus, SmallestAndLargestAlphabets) {
  const Corpus two({.domains = 1, .alphabet = 2, .spread = 0.1}, 0);
  EXPECT_GT(two.entropy(), 0);
  EXPECT_LT(two.entropy(), std::log(2.0));
  const Corpus all({.domains = 1, .alphabet = 96}, 0);
  std::set<char> letters(all.letters().begin(), all.letters().end());
  EXPECT_EQ(letters.size(), 96U);
}

TEST(Corpus, RefusesOptionsOutOfRange) {
  EXPECT_THROW(Corpus({.domains = 0}, 0), InputError);
  EXPECT_THROW(Corpus({.domains = -3}, 0), InputError);
  EXPECT_THROW(Corpus({.domains = Index{1} << 60}, 0), InputError);
  EXPECT_THROW(Corpus({.domains = 513}, 0), InputError);
  EXPECT_THROW(Corpus({.alphabet = 1}, 0), InputError);
  EXPECT_THROW(Corpus({.alphabet = 97}, 0), InputError);
  EXPECT_THROW(Corpus({.spread = 0.05}, 0), InputError);
  EXPECT_THROW(Corpus({.spread = std::nan("")}, 0), InputError);
  EXPECT_THROW(Corpus({.spread = INFINITY}, 0), InputError);
  try {
    Corpus({.domains = -3}, 0);
  } catch (const InputError& error) {
    EXPECT_NE(std::strstr(error.what(), "-3"), nullptr);
    EXPECT_NE(error.hint().find("corpus_domains"), std::string::npos);
  }
}

}  // namespace
}  // namespace conclave::train
