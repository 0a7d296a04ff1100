// A register full of float or double, and exp, sigmoid and tanh on it.
//
// Built from GCC/Clang vector extensions, so the same source serves every instruction set; the compiler flags decide the
// width. Everything has internal linkage: an object file compiled for one instruction set must not lend
// its code to another.
//
// Accuracy: sigmoid and tanh are within 2 ulp over the whole range of both types, with the exact limits at +-inf;
// NaN passes through. Only additions, products, divisions and fused products are used, in one order, so that
// every instruction set with FMA gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define FASTRNN_VECTOR_BYTES 64
#define FASTRNN_REGISTERS 32
#elif defined(__AVX2__)
#define FASTRNN_VECTOR_BYTES 32
#define FASTRNN_REGISTERS 16
#elif defined(__aarch64__)
#define FASTRNN_VECTOR_BYTES 16
#define FASTRNN_REGISTERS 32
#else
#define FASTRNN_VECTOR_BYTES 16
#define FASTRNN_REGISTERS 16
#endif

#if defined(__FMA__) || defined(__aarch64__)
#define FASTRNN_FMA 1
#else
#define FASTRNN_FMA 0
#endif

// An operand of an asm that changes nothing, but of which the compiler then knows nothing: a vector in its register.
#if defined(__aarch64__)
#define FASTRNN_IN_PLACE(v) "+w"(v)
#elif defined(__x86_64__) || defined(__i386__)
#define FASTRNN_IN_PLACE(v) "+v"(v)
#else
#define FASTRNN_IN_PLACE(v) "+m"(v)
#endif

#define FASTRNN_INLINE inline __attribute__((always_inline))

// One operation on each of several registers: see activate().
#define FASTRNN_EACH(first, last) _Pragma("GCC unroll 8") for (int k = first; k < last; ++k)

namespace {

template <class T> struct Lanes;

template <> struct Lanes<float> {
  typedef float type __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  typedef int32_t bits __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  static constexpr int mantissa = 23;
  static constexpr int32_t sign = INT32_MIN;
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  static constexpr float exponent_bias = 127;
  static constexpr float log2_e = 1.44269504088896341f;
  static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723e-6f;
  static constexpr float guard_bits = 64, guard = 0x1p-64f;  // keeps exp(105) finite
  static constexpr float most_negative = -105, most_positive = 40;  // where sigmoid has reached 0 and 1
  // (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, highest power first: minimax of the relative error of exp, which is 2^-28
  static constexpr int terms = 5;
  static constexpr bool low_part = !FASTRNN_FMA;  // of m in tanh; with FMA it is within 2 ulp without
  static constexpr float exp_poly[terms] = {0x1.6a2436p-10f, 0x1.1239e4p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f};
};

template <> struct Lanes<double> {
  typedef double type __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  typedef int64_t bits __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  static constexpr int mantissa = 52;
  static constexpr int64_t sign = INT64_MIN;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double exponent_bias = 1023;
  static constexpr double log2_e = 1.44269504088896340736;
  static constexpr double ln2_high = 6.93147180369123816490e-1, ln2_low = 1.90821492927058770002e-10;
  static constexpr double guard_bits = 512, guard = 0x1p-512;
  static constexpr double most_negative = -746, most_positive = 40;
  // Taylor series: its first missing term, r^14/14!, is below 5e-18 for |r| <= ln(2)/2
  static constexpr int terms = 12;
  static constexpr bool low_part = true;
  static constexpr double exp_poly[terms] = {
      1.6059043836821613e-10, 2.08767569878681e-9,  2.505210838544172e-8, 2.755731922398589e-7,
      2.7557319223985893e-6,  2.48015873015873e-5,  1.984126984126984e-4, 1.388888888888889e-3,
      8.333333333333333e-3,   4.166666666666666e-2, 1.666666666666667e-1, 0.5};
};

template <class T> using Vec = typename Lanes<T>::type;
template <class T> using Bits = typename Lanes<T>::bits;
template <class T> constexpr int width = FASTRNN_VECTOR_BYTES / int(sizeof(T));

FASTRNN_INLINE long smaller(long a, long b) { return a < b ? a : b; }

// First of a thread's share of n columns, whole vectors of them.
template <class T> FASTRNN_INLINE long share_of(long n, int thread, int threads) {
  return smaller(n, (n + width<T> - 1) / width<T> * thread / threads * width<T>);
}

// The type's scalar in every lane.
template <class T> FASTRNN_INLINE Vec<T> all(T value) { return value - Vec<T>{}; }

// The first n lanes from p, the others zero; n = width reads a whole register, aligned or not.
template <class T> FASTRNN_INLINE Vec<T> load(const T* p, int n = width<T>) {
  Vec<T> v = {};
  if (__builtin_expect(n == width<T>, 1))
    std::memcpy(&v, p, sizeof v);
  else
    std::memcpy(&v, p, n * sizeof(T));
  return v;
}

// The first n lanes of v, the others zero.
template <class T> FASTRNN_INLINE Vec<T> first_lanes(Vec<T> v, int n) {
  Bits<T> lane;
  for (int l = 0; l < width<T>; ++l) lane[l] = l;
  return lane < n ? v : Vec<T>{};
}

template <class T> FASTRNN_INLINE void store(T* p, Vec<T> v, int n = width<T>) {
  if (__builtin_expect(n == width<T>, 1))
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, n * sizeof(T));
}

// Stores that leave the caches to others: v goes to memory, without what was there being fetched first. p is a multiple of a
// register's size. What other threads are to see is there after settle(). No vector extension of GCC has such stores.
template <class T> FASTRNN_INLINE void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(reinterpret_cast<float*>(p), (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(reinterpret_cast<float*>(p), (__m256)v);
#else
  store<T>(p, v);
#endif
}
FASTRNN_INLINE void settle() {
#ifdef __AVX2__
  _mm_sfence();
#endif
}

// a[0], b[0], a[1], b[1], ... of their first halves, or with half = 1 of their second halves.
template <class T, int half, int... lane>
FASTRNN_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, (lane % 2 * width<T> + (lane + half * width<T>) / 2)...);
#else
  return __builtin_shuffle(a, b, Bits<T>{(lane % 2 * width<T> + (lane + half * width<T>) / 2)...});
#endif
}

// Turn a square of registers into its transpose: every round of interleaving moves one bit of each element's column into
// its row, and one of its row into its column.
template <class T> FASTRNN_INLINE void transpose(Vec<T>* square) {
  constexpr int V = width<T>;
  constexpr std::make_integer_sequence<int, V> lanes;
#pragma GCC unroll 4
  for (int round = 1; round < V; round *= 2) {
    Vec<T> next[V];
#pragma GCC unroll 8
    for (int k = 0; k < V / 2; ++k) {
      next[2 * k] = interleave<T, 0>(square[k], square[k + V / 2], lanes);
      next[2 * k + 1] = interleave<T, 1>(square[k], square[k + V / 2], lanes);
    }
#pragma GCC unroll 16
    for (int k = 0; k < V; ++k) square[k] = next[k];
  }
}

// A product that the compiler must not fuse with a sum. Where a sum has two products, it could fuse either, and would
// choose differently in two places: that would be two sets of bits.
template <class V> FASTRNN_INLINE V rounded(V product) {
  asm("" : FASTRNN_IN_PLACE(product));
  return product;
}

// x where it is at least (at most) the limit, else the limit; NaN passes through. On x86 these are single instructions, for
// which compilers do not take the comparison with masks of AVX-512: a tenth of an LSTM's elementwise step.
template <class T> FASTRNN_INLINE Vec<T> at_least(Vec<T> x, T least) {
  Vec<T> limit = all<T>(least);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == sizeof(float)) return (Vec<T>)_mm512_max_ps((__m512)limit, (__m512)x);
  else return (Vec<T>)_mm512_max_pd((__m512d)limit, (__m512d)x);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == sizeof(float)) return (Vec<T>)_mm256_max_ps((__m256)limit, (__m256)x);
  else return (Vec<T>)_mm256_max_pd((__m256d)limit, (__m256d)x);
#else
  return limit > x ? limit : x;
#endif
}
template <class T> FASTRNN_INLINE Vec<T> at_most(Vec<T> x, T most) {
  Vec<T> limit = all<T>(most);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == sizeof(float)) return (Vec<T>)_mm512_min_ps((__m512)limit, (__m512)x);
  else return (Vec<T>)_mm512_min_pd((__m512d)limit, (__m512d)x);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == sizeof(float)) return (Vec<T>)_mm256_min_ps((__m256)limit, (__m256)x);
  else return (Vec<T>)_mm256_min_pd((__m256d)limit, (__m256d)x);
#else
  return limit < x ? limit : x;
#endif
}

// The smaller and the larger of positive numbers: their bits are in the numbers' order.
template <class T> FASTRNN_INLINE Vec<T> smaller_bits(Vec<T> x, T y) {
  Bits<T> a = (Bits<T>)x, b = (Bits<T>)all<T>(y);
  return (Vec<T>)(a < b ? a : b);
}
template <class T> FASTRNN_INLINE Vec<T> larger_bits(Vec<T> x, T y) {
  Bits<T> a = (Bits<T>)x, b = (Bits<T>)all<T>(y);
  return (Vec<T>)(a > b ? a : b);
}

// v[0..S) = 1 / (1 + exp(-v)), v[S..S+H) = tanh(v).
//
// The functions advance in lockstep: each alone is one long chain of dependent operations, and the processor's window
// is too short to overlap several of them on its own. With exp(x) = exp(r) 2^n, |r| <= ln(2)/2:
//   sigmoid  g / (g + g exp(-x)); the guard g keeps exp(-x) finite where the result is subnormal
//   tanh     m / (m + 2), m = exp(2|x|) - 1 without cancellation, and the sign of x; at 20 both types have reached 1
template <class T, int S, int H> FASTRNN_INLINE void activate(Vec<T>* v) {
  using L = Lanes<T>;
  constexpr int M = S + H;
  Vec<T> x[M], t[M], r[M], p[M], low[M];
  Bits<T> sign[M];
  FASTRNN_EACH(0, S) x[k] = -at_most<T>(at_least<T>(v[k], L::most_negative), L::most_positive);
  FASTRNN_EACH(S, M) sign[k] = (Bits<T>)v[k] & L::sign;
  FASTRNN_EACH(S, M) x[k] = at_most<T>((Vec<T>)((Bits<T>)v[k] & ~L::sign), T(20)) * T(2);
  // the low bits of t are n + bias (- guard): shifted into the exponent's place they are 2^n (* guard)
  constexpr T shift_s = L::round + (L::exponent_bias - L::guard_bits), shift_h = L::round + L::exponent_bias;
  FASTRNN_EACH(0, M) t[k] = x[k] * L::log2_e + (k < S ? shift_s : shift_h);
  FASTRNN_EACH(0, M) r[k] = x[k] - (t[k] - (k < S ? shift_s : shift_h)) * L::ln2_high;
  if (L::low_part) FASTRNN_EACH(S, M) low[k] = r[k];
  FASTRNN_EACH(0, M) r[k] = r[k] - (t[k] - (k < S ? shift_s : shift_h)) * L::ln2_low;
  if (L::low_part) FASTRNN_EACH(S, M) low[k] = (low[k] - r[k]) - (t[k] - shift_h) * L::ln2_low;
  FASTRNN_EACH(0, M) t[k] = (Vec<T>)((Bits<T>)t[k] << L::mantissa);
  // p = (exp(r) - 1 - r) / r^2
  FASTRNN_EACH(0, M) p[k] = r[k] * L::exp_poly[0] + L::exp_poly[1];
#pragma GCC unroll 16
  for (int term = 2; term < L::terms; ++term) FASTRNN_EACH(0, M) p[k] = p[k] * r[k] + L::exp_poly[term];
  if (L::low_part) FASTRNN_EACH(S, M) low[k] = low[k] + p[k] * (r[k] * r[k]);
  FASTRNN_EACH(0, M) p[k] = p[k] * (r[k] * r[k]) + r[k];
  // the denominator, in x; the smaller of exp(-x)'s and the guard's parts first
  FASTRNN_EACH(0, S) x[k] = p[k] * t[k] + smaller_bits<T>(t[k], L::guard) + larger_bits<T>(t[k], L::guard);
  if (L::low_part) {
    // m is p + low: what the roundings of r, p and m left
    FASTRNN_EACH(S, M) low[k] = low[k] - (p[k] - r[k]);
    FASTRNN_EACH(S, M) r[k] = p[k] * t[k] + (t[k] - T(1));
    FASTRNN_EACH(S, M) p[k] = p[k] * t[k] - (r[k] - (t[k] - T(1)));
    FASTRNN_EACH(S, M) low[k] = low[k] * t[k] + p[k];
    FASTRNN_EACH(S, M) p[k] = r[k];
  } else {
    FASTRNN_EACH(S, M) p[k] = p[k] * t[k] + (t[k] - T(1));
  }
  FASTRNN_EACH(S, M) x[k] = p[k] + T(2);
  FASTRNN_EACH(0, S) p[k] = all<T>(L::guard);
  FASTRNN_EACH(0, M) v[k] = p[k] / x[k];
  // v = (m - m v) / 2 at the solution: below 1 this step shrinks the error that the rounding of m + 2 brought in
  if (L::low_part) {
    // the slope of m / (m + 2) is (1 - v)^2 / 2
    FASTRNN_EACH(S, M) t[k] = T(1) - v[k];
    FASTRNN_EACH(S, M) low[k] = rounded(low[k] * t[k] * t[k]) - p[k] * v[k];
    FASTRNN_EACH(S, M) t[k] = low[k] * T(0.5) + rounded(p[k] * T(0.5));
  } else {
    FASTRNN_EACH(S, M) t[k] = rounded(p[k] * T(0.5));
    FASTRNN_EACH(S, M) t[k] = t[k] - t[k] * v[k];
  }
  FASTRNN_EACH(S, M) v[k] = p[k] < T(1) ? t[k] : v[k];
  FASTRNN_EACH(S, M) v[k] = (Vec<T>)((Bits<T>)v[k] | sign[k]);
}

template <class T> FASTRNN_INLINE Vec<T> sigmoid(Vec<T> x) {
  activate<T, 1, 0>(&x);
  return x;
}

template <class T> FASTRNN_INLINE Vec<T> tanh(Vec<T> x) {
  activate<T, 0, 1>(&x);
  return x;
}

// v[0..M) = exp(v) for v <= 0, in lockstep as in activate(): within 1 ulp, subnormal results included.
template <class T, int M> FASTRNN_INLINE void exp_of_negative(Vec<T>* v) {
  using L = Lanes<T>;
  // 2^n is made larger by the guard, which a last product takes off again: it rounds a subnormal result once
  constexpr T shift = L::round + (L::exponent_bias + L::guard_bits);
  Vec<T> t[M], r[M], p[M];
  FASTRNN_EACH(0, M) v[k] = at_least<T>(v[k], L::most_negative);
  FASTRNN_EACH(0, M) t[k] = v[k] * L::log2_e + shift;
  FASTRNN_EACH(0, M) r[k] = v[k] - (t[k] - shift) * L::ln2_high;
  FASTRNN_EACH(0, M) r[k] = r[k] - (t[k] - shift) * L::ln2_low;
  FASTRNN_EACH(0, M) t[k] = (Vec<T>)((Bits<T>)t[k] << L::mantissa);
  FASTRNN_EACH(0, M) p[k] = r[k] * L::exp_poly[0] + L::exp_poly[1];
#pragma GCC unroll 16
  for (int term = 2; term < L::terms; ++term) FASTRNN_EACH(0, M) p[k] = p[k] * r[k] + L::exp_poly[term];
  FASTRNN_EACH(0, M) p[k] = p[k] * (r[k] * r[k]) + r[k];
  FASTRNN_EACH(0, M) v[k] = (p[k] * t[k] + t[k]) * L::guard;
}

template <class T> FASTRNN_INLINE Vec<T> square_root(Vec<T> x) {
  for (int k = 0; k < width<T>; ++k) x[k] = sizeof(T) == sizeof(float) ? __builtin_sqrtf(x[k]) : __builtin_sqrt(x[k]);
  return x;
}

// A register's worth of float64 from p on, or from register x: its part k. Lane by lane: GCC turns this into one
// conversion, __builtin_convertvector into several.
template <class T> FASTRNN_INLINE Vec<double> load_wide(const T* p) {
  Vec<double> v;
  for (int i = 0; i < width<double>; ++i) v[i] = p[i];
  return v;
}
template <class T> FASTRNN_INLINE Vec<double> widen(Vec<T> x, int k) {
  Vec<double> v;
  for (int i = 0; i < width<double>; ++i) v[i] = x[k * width<double> + i];
  return v;
}

}  // namespace
