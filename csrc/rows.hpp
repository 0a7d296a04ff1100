// Work on whole rows that stands between products and elementwise steps: masks, blends, layer normalisation; and sums over
// rows.
//
// A row's sums are made in PARTIALS partial sums, element k in number k % PARTIALS, whatever the width of a register.
#pragma once

#include <cmath>

#include "flat.hpp"
#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::ColumnSums;
using fastrnn::Rows;

// Sum over k of term(k, n), vectors of n elements from k on whose other lanes are zero.
template <class T, class Term> FASTRNN_INLINE T row_sum(long width_, Term term) {
  constexpr int parts = PARTIALS / width<T>;
  Vec<T> sum[parts];
  for (int p = 0; p < parts; ++p) sum[p] = Vec<T>{};
  long k = 0;
  for (; k + PARTIALS <= width_; k += PARTIALS)
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) sum[p] += term(k + p * width<T>, width<T>);
  for (int p = 0; k < width_; ++p, k += width<T>)
    sum[p] += term(k, int(width_ - k < width<T> ? width_ - k : width<T>));
  T total = 0;
  for (int p = 0; p < parts; ++p)
    for (int l = 0; l < width<T>; ++l) total += sum[p][l];
  return total;
}

template <class T> void normalise(const Rows<T>& s, long row) {
  const T* in = s.in + row * s.in_ld;
  T *hat = s.hat + row * s.hat_ld, *out = s.out + row * s.out_ld;
  const T mean = row_sum<T>(s.width, [&](long k, int n) { return load<T>(in + k, n); }) / T(s.width);
  const T variance = row_sum<T>(s.width, [&](long k, int n) {
    Vec<T> centred = first_lanes<T>(load<T>(in + k, n) - mean, n);
    return rounded(centred * centred);
  }) / T(s.width);
  const T scale = T(1) / std::sqrt(variance + T(1e-5));
  s.scale[row * s.scale_ld] = scale;
  for_vectors<T>(0, s.width, [&](long k, int n) {
    Vec<T> v = (load<T>(in + k, n) - mean) * scale, add = s.add ? load<T>(out + k, n) : Vec<T>{};
    if (s.bias) add += load<T>(s.bias + k, n);
    store<T>(hat + k, v, n);
    store<T>(out + k, v * load<T>(s.gain + k, n) + add, n);
  });
}

template <class T> void normalise_back(const Rows<T>& s, long row) {
  const T *in = s.in + row * s.in_ld, *hat = s.hat + row * s.hat_ld;
  T* out = s.out + row * s.out_ld;
  const T scale = s.scale[row * s.scale_ld];
  auto g = [&](long k, int n) { return load<T>(in + k, n) * load<T>(s.gain + k, n); };
  const T mean = row_sum<T>(s.width, [&](long k, int n) { return rounded(g(k, n)); }) / T(s.width);
  const T along = row_sum<T>(s.width, [&](long k, int n) {
    return rounded(rounded(g(k, n)) * load<T>(hat + k, n));
  }) / T(s.width);
  for_vectors<T>(0, s.width, [&](long k, int n) {
    Vec<T> d = rounded((rounded(g(k, n)) - mean - rounded(load<T>(hat + k, n) * along)) * scale);
    store<T>(out + k, s.add ? load<T>(out + k, n) + d : d, n);
  });
}

template <class T> void rows(int work, const Rows<T>* s, long row0, long row1) {
  for (long row = row0; row < row1; ++row) {
    if (work == fastrnn::NORMALISE) {
      normalise(*s, row);
      continue;
    }
    if (work == fastrnn::NORMALISE_BACK) {
      normalise_back(*s, row);
      continue;
    }
    const T *in = s->in + row * s->in_ld, *other = s->other + row * s->other_ld;
    T *old = s->old + row * s->old_ld, *out = s->out + row * s->out_ld;
    for_vectors<T>(0, s->width, [&](long k, int n) {
      Vec<T> v = load<T>(in + k, n);
      if (work == fastrnn::ADD) return store<T>(out + k, load<T>(out + k, n) + v, n);
      Vec<T> share = load<T>(other + k, n);
      if (work == fastrnn::TIMES) return store<T>(out + k, v * share, n);
      if (work == fastrnn::BLEND) {
        Vec<T> before = load<T>(old + k, n);
        return store<T>(out + k, share * (v - before) + before, n);
      }
      store<T>(old + k, v - rounded(share * v), n);
      store<T>(out + k, rounded(share * v), n);
    });
  }
}

template <class T> void column_sums(const ColumnSums<T>* s, long column0, long column1) {
  for_vectors<T>(column0, column1, [&](long k, int n) {
    Vec<T> sum = load<T>(s->sums + k, n);
    for (long r = 0; r < s->R; ++r) {
      Vec<T> a = load<T>(s->a + (s->a_rows ? s->a_rows[r] : r) * s->lda + k, n);
      sum += s->b ? rounded(a * load<T>(s->b + r * s->ldb + k, n)) : a;
    }
    store<T>(s->sums + k, sum, n);
  });
}

}  // namespace
