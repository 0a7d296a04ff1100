// What a training step does besides the scans, each fused into one pass: an optimiser's step and the norm over flat
// arrays, softmax cross-entropy over rows.
//
// The bits depend on values and shapes only: elementwise steps are the same chain of operations in every lane, and a
// sum's element k always belongs to partial sum k % PARTIALS, whatever the width of a register.
#pragma once

#include <cstdint>
#include <limits>

#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::CrossEntropy;
using fastrnn::Step;
using fastrnn::Update;

// Calls body(k, n) for registers of n elements from k on.
template <class T, class Body> FASTRNN_INLINE void for_vectors(long first, long last, Body body) {
  long k = first;
  for (; k + width<T> <= last; k += width<T>) body(k, width<T>);
  if (k < last) body(k, int(last - k));
}

// ---------------------------------------------------------------------------------------------------------------------
// Optimisers

template <class T> void adam(const Step& step, const Update<T>& s, long first, long last) {
  const T rate = T(step.rate), scale = T(step.scale);
  const T new_m = T(step.new_m), old_m = T(1 - step.new_m), new_v = T(step.new_v), old_v = T(1 - step.new_v);
  const T correction = T(step.correction), eps = T(step.eps), decay = T(step.decay);
  for_vectors<T>(first, last, [&](long k, int n) __attribute__((always_inline)) {
    Vec<T> p = load<T>(s.params + k, n), m = load<T>(s.m + k, n), v = load<T>(s.v + k, n);
    Vec<T> g = load<T>(s.grads + k, n) * scale;
    m = m * old_m + g * new_m;
    v = v * old_v + g * g * new_v;
    p = p - p * decay;
    store<T>(s.params + k, p - m / (square_root<T>(v * correction) + eps) * rate, n);
    store<T>(s.m + k, m, n);
    store<T>(s.v + k, v, n);
  });
}

template <class T> void sgd(const Step& step, const Update<T>& s, long first, long last) {
  const T rate = T(step.rate), scale = T(step.scale), momentum = T(step.momentum);
  for_vectors<T>(first, last, [&](long k, int n) __attribute__((always_inline)) {
    Vec<T> g = load<T>(s.grads + k, n) * scale;
    if (s.m) {
      Vec<T> m = load<T>(s.m + k, n) * momentum + g;
      store<T>(s.m + k, m, n);
      g = step.nesterov ? m * momentum + g : m;
    }
    store<T>(s.params + k, load<T>(s.params + k, n) - g * rate, n);
  });
}

template <class T> void rmsprop(const Step& step, const Update<T>& s, long first, long last) {
  const T rate = T(step.rate), scale = T(step.scale), eps = T(step.eps);
  const T new_v = T(step.new_v), old_v = T(1 - step.new_v);
  for_vectors<T>(first, last, [&](long k, int n) __attribute__((always_inline)) {
    Vec<T> g = load<T>(s.grads + k, n) * scale, v = load<T>(s.v + k, n);
    v = v * old_v + g * g * new_v;
    store<T>(s.params + k, load<T>(s.params + k, n) - g / (square_root<T>(v) + eps) * rate, n);
    store<T>(s.v + k, v, n);
  });
}

template <class T> void update(int rule, const Step* step, const Update<T>* s, long first, long last) {
  switch (rule) {
    case fastrnn::ADAM: return adam<T>(*step, *s, first, last);
    case fastrnn::SGD: return sgd<T>(*step, *s, first, last);
    case fastrnn::RMSPROP: return rmsprop<T>(*step, *s, first, last);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums

constexpr int PARTIALS = 16;

// Partial sums in float64 of term(x) over many x, PARTIALS of them a round.
template <class T, class Term> struct Sum {
  static constexpr int registers = PARTIALS / width<double>;
  Term term;
  Vec<double> partial[registers] = {};

  // Register k of a round.
  FASTRNN_INLINE void add(int k, Vec<double> x) { partial[k] += term(x); }

  // The sum, with the n < PARTIALS elements that did not fill a round.
  FASTRNN_INLINE double total(const T* rest, int n) const {
    double lane[PARTIALS];
    std::memcpy(lane, partial, sizeof lane);
    for (int k = 0; k < n; ++k) lane[k] += term(double(rest[k]));
#pragma GCC unroll 8
    for (int half = PARTIALS / 2; half > 0; half /= 2)
#pragma GCC unroll 8
      for (int k = 0; k < half; ++k) lane[k] += lane[k + half];
    return lane[0];
  }
};

template <class T> double sum_of_squares(const T* x, long n) {
  auto square = [](auto value) __attribute__((always_inline)) { return value * value; };
  Sum<T, decltype(square)> sum{square};
  long k = 0;
  for (; k + PARTIALS <= n; k += PARTIALS)
#pragma GCC unroll 8
    for (int i = 0; i < sum.registers; ++i) sum.add(i, load_wide<T>(x + k + i * width<double>));
  return sum.total(x + k, int(n - k));
}

// ---------------------------------------------------------------------------------------------------------------------
// Softmax cross-entropy

// The largest of n > 0 numbers; a NaN may be passed over.
template <class T> T largest(const T* x, long n) {
  constexpr int M = 4;
  const Vec<T> least = all<T>(-std::numeric_limits<T>::infinity());
  Vec<T> most[M] = {least, least, least, least};
  long k = 0;
  for (; k + M * width<T> <= n; k += M * width<T>)
    for (int i = 0; i < M; ++i) {
      Vec<T> v = load<T>(x + k + i * width<T>);
      most[i] = v > most[i] ? v : most[i];
    }
  T lane[M * width<T>];
  std::memcpy(lane, most, sizeof lane);
  for (int i = 0; k < n; ++k, ++i) lane[i] = x[k] > lane[i] ? x[k] : lane[i];
  for (int half = M * width<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i + half] > lane[i] ? lane[i + half] : lane[i];
  return lane[0];
}

// p = exp(x - most); returns its sum.
template <class T> double exp_and_sum(const T* x, T most, T* p, long n) {
  constexpr int M = PARTIALS / width<T> < 2 ? 1 : 2;  // registers in lockstep
  constexpr int wide = int(sizeof(double) / sizeof(T));
  auto itself = [](auto value) __attribute__((always_inline)) { return value; };
  Sum<T, decltype(itself)> sum{itself};
  long k = 0;
  for (; k + PARTIALS <= n; k += PARTIALS)
#pragma GCC unroll 4
    for (int i = 0; i < PARTIALS / width<T>; i += M) {
      const long at = k + i * width<T>;
      Vec<T> v[M];
      for (int r = 0; r < M; ++r) v[r] = load<T>(x + at + r * width<T>) - most;
      exp_of_negative<T, M>(v);
      for (int r = 0; r < M; ++r) store<T>(p + at + r * width<T>, v[r]);
      for (int r = 0; r < M * wide; ++r) sum.add(i * wide + r, widen<T>(v[r / wide], r % wide));
    }
  for_vectors<T>(k, n, [&](long at, int some) __attribute__((always_inline)) {
    Vec<T> v = load<T>(x + at, some) - most;
    exp_of_negative<T, 1>(&v);
    store<T>(p + at, v, some);
  });
  return sum.total(p + k, int(n - k));
}

template <class T> void cross_entropy(const CrossEntropy<T>* s, long row0, long row1) {
  const long V = s->V;
  for (long row = row0; row < row1; ++row) {
    const T* x = s->logits + row * V;
    T* p = s->dlogits + row * V;
    const double weight = s->weights ? s->weights[row] : 1;
    if (weight == 0) {
      std::memset(p, 0, V * sizeof(T));
      s->losses[row] = 0;
      continue;
    }
    const long target = s->targets[row];
    const T most = largest<T>(x, V);
    const double total = exp_and_sum<T>(x, most, p, V);
    s->losses[row] = weight * (__builtin_log(total) - (double(x[target]) - double(most)));
    const T share = T(weight * s->scale / total);
    for (long k = 0; k < V; ++k) p[k] *= share;
    p[target] -= T(weight * s->scale);
  }
}

}  // namespace
