// A register full of float or double, and exp, sigmoid and tanh on it.
//
// Built from GCC/Clang vector extensions only, so the same source serves every instruction set; the compiler flags
// decide the width. Everything has internal linkage: an object file compiled for one instruction set must not lend
// its code to another.
//
// Accuracy: sigmoid and tanh are within 2 ulp over the whole range of both types, with the exact limits at +-inf;
// NaN passes through. Only additions, products, divisions and fused products are used, in one order, so that
// every instruction set with FMA gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>

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

#define FASTRNN_INLINE inline __attribute__((always_inline))

namespace {

template <class T> struct Lanes;

template <> struct Lanes<float> {
  typedef float type __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  typedef int32_t bits __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  static constexpr int mantissa = 23;
  static constexpr int32_t exponent_bias = 127;
  static constexpr int32_t sign = INT32_MIN;
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  static constexpr float log2_e = 1.44269504088896341f;
  static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723e-6f;
  static constexpr int32_t guard_bits = 64;  // sigmoid computes exp(x) * 2^64, to keep subnormal results exact
  static constexpr float guard = 0x1p64f, unguard = 0x1p-64f;
  static constexpr float exp_underflow = -105.0f;
  // (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, highest power first (minimax, after Moshier's Cephes)
  static constexpr int terms = 6;
  static constexpr float exp_poly[terms] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
};

template <> struct Lanes<double> {
  typedef double type __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  typedef int64_t bits __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));
  static constexpr int mantissa = 52;
  static constexpr int64_t exponent_bias = 1023;
  static constexpr int64_t sign = INT64_MIN;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double log2_e = 1.44269504088896340736;
  static constexpr double ln2_high = 6.93147180369123816490e-1, ln2_low = 1.90821492927058770002e-10;
  static constexpr int64_t guard_bits = 512;
  static constexpr double guard = 0x1p512, unguard = 0x1p-512;
  static constexpr double exp_underflow = -746.0;
  // Taylor series: its first missing term, r^14/14!, is below 5e-18 for |r| <= ln(2)/2
  static constexpr int terms = 12;
  static constexpr double exp_poly[terms] = {
      1.6059043836821613e-10, 2.08767569878681e-9,  2.505210838544172e-8, 2.755731922398589e-7,
      2.7557319223985893e-6,  2.48015873015873e-5,  1.984126984126984e-4, 1.388888888888889e-3,
      8.333333333333333e-3,   4.166666666666666e-2, 1.666666666666667e-1, 0.5};
};

template <class T> using Vec = typename Lanes<T>::type;
template <class T> using Bits = typename Lanes<T>::bits;
template <class T> constexpr int width = FASTRNN_VECTOR_BYTES / int(sizeof(T));

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

template <class T> FASTRNN_INLINE void store(T* p, Vec<T> v, int n = width<T>) {
  if (__builtin_expect(n == width<T>, 1))
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, n * sizeof(T));
}

// The parts of exp(x) = (1 + u) * 2^n, |log(1 + u)| <= ln(2)/2, u without cancellation; n as the low bits of shifted.
template <class T> struct Exp {
  Vec<T> u;
  Bits<T> shifted;

  FASTRNN_INLINE explicit Exp(Vec<T> x) {
    using L = Lanes<T>;
    Vec<T> t = x * L::log2_e + L::round;
    shifted = (Bits<T>)t;
    Vec<T> n = t - L::round;
    Vec<T> r = x - n * L::ln2_high;
    r = r - n * L::ln2_low;
    Vec<T> p = all<T>(L::exp_poly[0]);
#pragma GCC unroll 16
    for (int k = 1; k < L::terms; ++k) p = p * r + L::exp_poly[k];
    u = p * (r * r) + r;
  }

  // 2^(n + extra); the shift drops the bits of the rounding constant above n
  FASTRNN_INLINE Vec<T> scale(decltype(Lanes<T>::exponent_bias) extra) const {
    using L = Lanes<T>;
    return (Vec<T>)((shifted << L::mantissa) + ((L::exponent_bias + extra) << L::mantissa));
  }
};

template <class T> FASTRNN_INLINE Vec<T> minus_abs(Vec<T> x) { return (Vec<T>)((Bits<T>)x | Lanes<T>::sign); }

template <class T> FASTRNN_INLINE Vec<T> at_least(Vec<T> x, T least) { return x < least ? all<T>(least) : x; }

// 1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows
template <class T> FASTRNN_INLINE Vec<T> sigmoid(Vec<T> x) {
  using L = Lanes<T>;
  Exp<T> e(at_least<T>(minus_abs<T>(x), L::exp_underflow));
  Vec<T> guarded = (e.u + T(1)) * e.scale(L::guard_bits);
  Vec<T> numerator = x < T(0) ? guarded : all<T>(L::guard);
  return numerator / (guarded * L::unguard + T(1)) * L::unguard;
}

// -expm1(-2|x|) / (2 + expm1(-2|x|)) with the sign of x; at -40 it has reached 1 in both types
template <class T> FASTRNN_INLINE Vec<T> tanh(Vec<T> x) {
  Exp<T> e(at_least<T>(minus_abs<T>(x) * T(2), T(-40)));
  Vec<T> two_n = e.scale(0);
  Vec<T> expm1 = e.u * two_n + (two_n - T(1));
  Vec<T> magnitude = expm1 / (expm1 + T(2));
  Bits<T> sign = (Bits<T>)x & Lanes<T>::sign;
  return (Vec<T>)(((Bits<T>)magnitude & ~Lanes<T>::sign) | sign);
}

}  // namespace
