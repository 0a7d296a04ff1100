// The elementwise functions that a gate may be given, and their slopes from their values; see fastrnn/activations.py.
#pragma once

#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Function;
using fastrnn::Rules;

// log(1 + e) for 0 <= e <= 1: 2 artanh(s), s = e / (2 + e) <= 1/3
template <class T> FASTRNN_INLINE Vec<T> log_one_plus(Vec<T> e) {
  constexpr int terms = sizeof(T) == 4 ? 9 : 18;
  Vec<T> s = e / (e + T(2)), q = s * s, sum = all<T>(T(1) / T(2 * terms - 1));
#pragma GCC unroll 1
  for (int k = terms - 2; k >= 0; --k) sum = sum * q + T(1) / T(2 * k + 1);
  return (s + s) * sum;
}

template <class T> FASTRNN_INLINE Vec<T> negative_exp(Vec<T> x) {
  exp_of_negative<T, 1>(&x);
  return x;
}

template <class T> FASTRNN_INLINE Vec<T> magnitude(Vec<T> x) { return (Vec<T>)((Bits<T>)x & ~Lanes<T>::sign); }

template <class T> Vec<T> value(const Function<T>& f, Vec<T> a) {
  const Vec<T> zero = {}, one = all<T>(1);
  switch (f.kind) {
    case fastrnn::TANH: return tanh<T>(a);
    case fastrnn::SIGMOID: return sigmoid<T>(a);
    case fastrnn::RELU: return at_least<T>(a, 0);
    case fastrnn::SOFTSIGN: return a / (one + magnitude<T>(a));
    case fastrnn::SOFTPLUS: return at_least<T>(a, 0) + log_one_plus<T>(negative_exp<T>(-magnitude<T>(a)));
    case fastrnn::HARD_SIGMOID: return at_most<T>(at_least<T>(a * f.alpha + f.beta, 0), 1);
    case fastrnn::LEAKY_RELU: return a > zero ? a : a * f.alpha;
    case fastrnn::THRESHOLDED_RELU: return a <= f.alpha ? zero : a;
    case fastrnn::SCALED_TANH: return tanh<T>(a * f.beta) * f.alpha;
    case fastrnn::AFFINE: return a * f.alpha + f.beta;
    case fastrnn::ELU: return a > zero ? a : (negative_exp<T>(at_most<T>(a, 0)) - one) * f.alpha;
    default: return a;
  }
}

template <class T> Vec<T> slope(const Function<T>& f, Vec<T> y) {
  const Vec<T> zero = {}, one = all<T>(1);
  switch (f.kind) {
    case fastrnn::TANH: return one - y * y;
    case fastrnn::SIGMOID: return y * (one - y);
    case fastrnn::RELU: return y > zero ? one : zero;
    case fastrnn::SOFTSIGN: return (one - magnitude<T>(y)) * (one - magnitude<T>(y));
    case fastrnn::SOFTPLUS: return one - negative_exp<T>(-y);
    case fastrnn::HARD_SIGMOID: return y > zero ? (y < one ? all<T>(f.alpha) : zero) : zero;
    case fastrnn::LEAKY_RELU: return y > zero ? one : all<T>(f.alpha);
    case fastrnn::THRESHOLDED_RELU: return y > f.alpha ? one : zero;
    case fastrnn::SCALED_TANH: return (all<T>(f.alpha) - y * y / f.alpha) * f.beta;
    case fastrnn::AFFINE: return all<T>(f.alpha);
    case fastrnn::ELU: return y > zero ? one : y + f.alpha;
    default: return one;
  }
}

template <class T> Vec<T> gate_value(const Function<T>& f, T clip, Vec<T> a) {
  return value(f, clip > 0 ? at_most<T>(at_least<T>(a, -clip), clip) : a);
}

// Where a value is that of a limit, its argument was cut.
template <class T> Vec<T> gate_slope(const Function<T>& f, T clip, Vec<T> y) {
  Vec<T> found = slope(f, y);
  if (clip > 0) {
    const Vec<T> low = value(f, all<T>(-clip)), high = value(f, all<T>(clip));
    found = y == low ? Vec<T>{} : found;
    found = y == high ? Vec<T>{} : found;
  }
  return found;
}

template <class T> Vec<T> recurrent(const Rules<T>& r, Vec<T> a) { return gate_value(r.recurrent, r.clip, a); }
template <class T> Vec<T> candidate(const Rules<T>& r, Vec<T> a) { return gate_value(r.activation, r.clip, a); }
template <class T> Vec<T> recurrent_slope(const Rules<T>& r, Vec<T> y) { return gate_slope(r.recurrent, r.clip, y); }
template <class T> Vec<T> candidate_slope(const Rules<T>& r, Vec<T> y) { return gate_slope(r.activation, r.clip, y); }

}  // namespace
