// SPDX-License-Identifier: Apache-2.0
#include "model_order.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <tuple>

namespace headrace::sim::model {
namespace {

using Wide = unsigned __int128;
constexpr uint64_t kG = 0x9E3779B97F4A7C15;
constexpr uint64_t kTagBlocks = 1, kTagInside = 2, kTagSampler = 6, kTagTail = 7;

// The t-th draw, t = 1, 2, ...
class Stream {
 public:
  explicit Stream(uint64_t k) : k_(k) {}
  uint64_t next() { return mix64(k_ + ++t_ * kG); }
  uint64_t bounded(uint64_t m) {
    for (;;) {
      const Wide product = Wide{next()} * m;
      const auto lo = static_cast<uint64_t>(product);
      if (!(lo < m && lo < (0 - m) % m)) return static_cast<uint64_t>(product >> 64);
    }
  }

 private:
  uint64_t k_, t_ = 0;
};

uint64_t high(uint64_t x, uint64_t n) { return static_cast<uint64_t>(Wide{x} * n >> 64); }

uint64_t spread(uint64_t i, uint64_t n, uint64_t k) {
  if (n <= 1) return 0;
  const auto below = [k](auto&& self, uint64_t node, uint64_t at, uint64_t size) -> uint64_t {
    if (size <= 1) return 0;
    const uint64_t h = mix64(k + node * kG);
    const bool odd = size % 2 == 1;
    const uint64_t x = odd ? high(mix64(h), size) : 0;
    if (odd && at == size - 1) return x;
    const uint64_t half = size / 2;
    const uint64_t side = (at ^ mix64(h + (at / 2 + 1) * kG)) % 2;
    uint64_t v = side * half + self(self, 2 * node + side, at / 2, half);
    if (odd && v >= x) ++v;
    return v;
  };
  return below(below, 1, i, n);
}

struct Blocks {
  std::vector<std::vector<uint64_t>> of;  // full ones, then the short one
  uint64_t full = 0;
};

Blocks cut_blocks(const std::vector<uint64_t>& counts, uint64_t c) {
  Blocks out;
  std::vector<uint64_t> rest;
  uint64_t first = 0, n = 0;
  const auto fill = [&](std::vector<uint64_t>& block, uint64_t from, uint64_t to) {
    for (uint64_t s = from; s < to; ++s) block.push_back(s);
  };
  for (const uint64_t count : counts) {
    for (uint64_t j = 0; j < count / c; ++j) {
      out.of.emplace_back();
      fill(out.of.back(), first + j * c, first + (j + 1) * c);
    }
    fill(rest, first + count - count % c, first + count);
    first += count;
    n += count;
  }
  for (uint64_t a = 0; a < rest.size(); a += c) {
    const auto end = rest.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(a + c, rest.size()));
    out.of.emplace_back(rest.begin() + static_cast<std::ptrdiff_t>(a), end);
  }
  out.full = n / c;
  return out;
}

class Epoch {
 public:
  Epoch(const OrderOf& spec, uint64_t epoch, uint64_t n) : seed_(spec.seed), epoch_(epoch) {
    lanes_ = std::min(spec.lanes, n);
    c_ = std::min(spec.shuffle == "global" ? 1 : spec.block, n / lanes_);
    blocks_ = cut_blocks(spec.counts, c_);
    const uint64_t k = key(seed_, epoch, kTagBlocks, 0), f = blocks_.full;
    const std::vector<uint64_t> lot = shuffled(f, k);
    for (uint64_t i = 0; i < f; ++i) beta_.push_back(spec.shuffle == "stratified" ? spread(i, f, k) : lot[i]);
    if (blocks_.of.size() > f) beta_.push_back(f);
    rows_ = f / lanes_;
  }
  std::vector<uint64_t> all(uint64_t n) const {
    std::vector<uint64_t> out;
    main_part(out);
    tail(out, n - out.size());
    return out;
  }

 private:
  // The i-th sample, in delivery order, of segment [lo, hi) of a block.
  uint64_t inside(uint64_t block, uint64_t lo, uint64_t hi, uint64_t i) const {
    const std::vector<uint64_t>& samples = blocks_.of[block];
    const uint64_t kappa = key(seed_, epoch_, kTagInside, block);
    const uint64_t place = lo + shuffled(hi - lo, kappa)[i];
    if (block >= blocks_.full) return samples[place];
    return samples[(place + high(mix64(kappa), c_)) % c_];
  }
  void main_part(std::vector<uint64_t>& out) const {
    const uint64_t cycle = rows_ * c_;
    for (uint64_t p = 0; p < cycle * lanes_; ++p) {
      const uint64_t r = p / lanes_, j = p % lanes_, off = j * c_ / lanes_;
      const uint64_t x = (r + cycle - off) % cycle, t = x / c_, i = x % c_;
      const uint64_t block = beta_[t * lanes_ + j];
      if (t + 1 < rows_ || off == 0) {
        out.push_back(inside(block, 0, c_, i));
      } else if (i >= c_ - off) {
        out.push_back(inside(block, c_ - off, c_, i - (c_ - off)));
      } else {
        out.push_back(inside(block, 0, c_ - off, i));
      }
    }
  }
  void tail(std::vector<uint64_t>& out, uint64_t n) const {
    if (n == 0) return;
    std::vector<std::pair<uint64_t, uint64_t>> tape;  // block, offset
    for (uint64_t k = rows_ * lanes_; k < beta_.size(); ++k) {
      for (uint64_t o = 0; o < blocks_.of[beta_[k]].size(); ++o) tape.emplace_back(beta_[k], o);
    }
    const uint64_t runs = std::min(lanes_, n), rounds = n / runs;
    const auto begin = [&](uint64_t u) { return u * rounds + std::min(u, n % runs); };
    const std::vector<uint64_t> lot = shuffled(runs, key(seed_, epoch_, kTagTail, 0));
    for (uint64_t p = 0; p < n; ++p) {
      const uint64_t r = p / runs, j = p % runs, run = r < rounds ? lot[j] : j;
      const auto [block, offset] = tape[begin(run) + r];
      uint64_t lo = offset, hi = offset + 1;  // the part of the block inside this run
      for (uint64_t a = begin(run) + r; a > begin(run) && tape[a - 1].first == block; --a) --lo;
      for (uint64_t a = begin(run) + r + 1; a < begin(run + 1) && tape[a].first == block; ++a) ++hi;
      out.push_back(inside(block, lo, hi, offset - lo));
    }
  }

  uint64_t seed_, epoch_, lanes_ = 1, c_ = 1, rows_ = 0;
  Blocks blocks_;
  std::vector<uint64_t> beta_;
};

}  // namespace

uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t key(uint64_t seed, uint64_t epoch, uint64_t tag, uint64_t extra) {
  return mix64(mix64(mix64(mix64(seed + kG) + kG + epoch) + kG + tag) + kG + extra);
}

std::vector<uint64_t> shuffled(uint64_t n, uint64_t k) {
  std::vector<uint64_t> a(n);
  for (uint64_t i = 0; i < n; ++i) a[i] = i;
  Stream draws(k);
  for (uint64_t i = n; i-- > 1;) std::swap(a[i], a[draws.bounded(i + 1)]);
  return a;
}

std::vector<uint64_t> order(const OrderOf& spec, uint64_t epoch) {
  uint64_t n = 0;
  for (const uint64_t count : spec.counts) n += count;
  if (spec.shuffle != "none") return Epoch(spec, epoch, n).all(n);
  std::vector<uint64_t> out(n);
  for (uint64_t p = 0; p < n; ++p) out[p] = p;
  return out;
}

// Whole-number weights are scaled by a power of two, so the integers are the weights times 2^t: exact.
uint64_t drawn(const std::vector<uint64_t>& weights, uint64_t seed, uint64_t epoch, uint64_t position) {
  uint64_t sum = 0, largest = 0;
  for (const uint64_t w : weights) {
    sum += w;
    largest = std::max(largest, w);
  }
  const int k = 62 - std::bit_width(largest) - std::bit_width(weights.size());
  const int t = k + 62 - std::bit_width((sum << k) + weights.size());
  uint64_t r = Stream(key(seed, epoch, kTagSampler, position)).bounded(sum << t);
  for (uint64_t sample = 0; sample < weights.size(); ++sample) {
    if (r < weights[sample] << t) return sample;
    r -= weights[sample] << t;
  }
  std::abort();  // r is below the sum
}

uint64_t Source::size() const {
  if (!weights.empty()) return draws_epoch != 0 ? draws_epoch : weights[0].of_sample.size();
  uint64_t n = 0;
  for (const uint64_t count : spec.counts) n += count;
  return selected.empty() ? n : static_cast<uint64_t>(std::count(selected.begin(), selected.end(), true));
}

// The order of the selected samples, numbered in stored order, with each shard's selected count.
std::vector<uint64_t> Source::epoch_order(uint64_t epoch) const {
  if (selected.empty()) return order(spec, epoch);
  OrderOf part = spec;
  std::vector<uint64_t> number;
  uint64_t s = 0;
  for (uint64_t& count : part.counts) {
    const uint64_t end = s + count;
    count = 0;
    for (; s < end; ++s) {
      if (!selected[s]) continue;
      ++count;
      number.push_back(s);
    }
  }
  std::vector<uint64_t> out = order(part, epoch);
  for (uint64_t& sample : out) sample = number[sample];
  return out;
}

uint64_t Source::sample(uint64_t epoch, uint64_t position) {
  if (!weights.empty()) {
    const Weights* in_force = &weights[0];
    for (const Weights& w : weights) {
      if (std::tie(w.epoch, w.position) <= std::tie(epoch, position)) in_force = &w;
    }
    return drawn(in_force->of_sample, draws_seed, epoch, position);
  }
  auto it = epochs_.find(epoch);
  if (it == epochs_.end()) it = epochs_.emplace(epoch, epoch_order(epoch)).first;
  return it->second[position];
}

}  // namespace headrace::sim::model
