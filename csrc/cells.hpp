// The cells' elementwise steps, forward and backward, on one vector of units of one row.
//
// `acc` holds the product's result, one vector per gate block; n counts the units that exist (the rest of the vector
// lies past H). Equations and gate orders: fastrnn/cells.py.
#pragma once

#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Backward;
using fastrnn::Forward;

// Gate block g of the projected input. The buffer has slack behind its last row, so a whole vector may be read.
template <class T> FASTRNN_INLINE Vec<T> pre(const Forward<T>& s, long row, long u, int g) {
  return load<T>(s.pre + row * s.pre_ld + g * s.H + u);
}

template <class T> FASTRNN_INLINE Vec<T> gate(const Backward<T>& s, long row, long u, int n, int g) {
  return load<T>(s.gates + row * s.gates_ld + g * s.H + u, n);
}

template <class T> FASTRNN_INLINE void save(const Forward<T>& s, long row, long u, int n, int g, Vec<T> v) {
  store<T>(s.gates + row * s.gates_ld + g * s.H + u, v, n);
}

template <class T> FASTRNN_INLINE void save_da(const Backward<T>& s, long row, long u, int n, int g, Vec<T> v) {
  store<T>(s.da + row * s.da_ld + g * s.H + u, v, n);
}

// dh of this step: what comes through the product, from the layer above, and past the product
template <class T> FASTRNN_INLINE Vec<T> total_dh(const Backward<T>& s, Vec<T> acc, long at, int n) {
  if (s.read_carry) acc += load<T>(s.dh + at, n);
  if (s.dy) acc += load<T>(s.dy + at, n);
  return acc;
}

struct RnnTanh {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    store<T>(s.h + row * s.H + u, tanh<T>(acc[0] + pre(s, row, u, 0)), n);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> dh = total_dh(s, acc, at, n), y = load<T>(s.y + at, n);
    save_da(s, row, u, n, 0, dh * (T(1) - y * y));
  }
};

struct RnnRelu {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    Vec<T> a = acc[0] + pre(s, row, u, 0);
    store<T>(s.h + row * s.H + u, at_least<T>(a, T(0)), n);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> dh = total_dh(s, acc, at, n), y = load<T>(s.y + at, n);
    save_da(s, row, u, n, 0, y > T(0) ? dh : Vec<T>{});
  }
};

struct Lstm {
  static constexpr int G = 4;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> a[4] = {acc[0] + pre(s, row, u, 0), acc[1] + pre(s, row, u, 1), acc[3] + pre(s, row, u, 3),
                   acc[2] + pre(s, row, u, 2)};
    activate<T, 3, 1>(a);
    Vec<T> i = a[0], f = a[1], o = a[2], g = a[3], ig = i * g;
    Vec<T> c = f * load<T>(s.c_prev + at, n) + ig;
    store<T>(s.c + at, c, n);
    store<T>(s.h + at, o * tanh<T>(c), n);
    if (s.gates) {
      save(s, row, u, n, 0, i);
      save(s, row, u, n, 1, f);
      save(s, row, u, n, 2, g);
      save(s, row, u, n, 3, o);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> dh = total_dh(s, acc, at, n);
    Vec<T> i = gate(s, row, u, n, 0), f = gate(s, row, u, n, 1), g = gate(s, row, u, n, 2), o = gate(s, row, u, n, 3);
    Vec<T> tanh_c = tanh<T>(load<T>(s.c + at, n));
    Vec<T> dc = load<T>(s.dc + at, n) + dh * o * (T(1) - tanh_c * tanh_c);
    save_da(s, row, u, n, 0, dc * g * (i * (T(1) - i)));
    save_da(s, row, u, n, 1, dc * load<T>(s.c_prev + at, n) * (f * (T(1) - f)));
    save_da(s, row, u, n, 2, dc * i * (T(1) - g * g));
    save_da(s, row, u, n, 3, dh * tanh_c * (o * (T(1) - o)));
    store<T>(s.dc + at, dc * f, n);
  }
};

// Blocks of pre and da: r z m n, where m is the reset product U_n h + b_rec.
struct Gru {
  static constexpr int G = 3;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> a[2] = {acc[0] + pre(s, row, u, 0), acc[1] + pre(s, row, u, 1)};
    activate<T, 2, 0>(a);
    Vec<T> r = a[0], z = a[1];
    Vec<T> m = acc[2] + pre(s, row, u, 2);
    Vec<T> candidate = tanh<T>(r * m + pre(s, row, u, 3));
    store<T>(s.h + at, z * (load<T>(s.h_prev + at, n) - candidate) + candidate, n);
    if (s.gates) {
      save(s, row, u, n, 0, r);
      save(s, row, u, n, 1, z);
      save(s, row, u, n, 2, m);
      save(s, row, u, n, 3, candidate);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> dh = total_dh(s, acc, at, n);
    Vec<T> r = gate(s, row, u, n, 0), z = gate(s, row, u, n, 1), m = gate(s, row, u, n, 2);
    Vec<T> candidate = gate(s, row, u, n, 3);
    Vec<T> dn = dh * (T(1) - z) * (T(1) - candidate * candidate);
    save_da(s, row, u, n, 0, dn * m * (r * (T(1) - r)));
    save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - candidate) * (z * (T(1) - z)));
    save_da(s, row, u, n, 2, dn * r);
    save_da(s, row, u, n, 3, dn);
    store<T>(s.dh + at, dh * z, n);
  }
};

// Blocks of pre, gates and da: r z n. This phase has r and z; the next has n, after the product (r*h) U_n.
struct GruBeforeGates {
  static constexpr int G = 2;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> a[2] = {acc[0] + pre(s, row, u, 0), acc[1] + pre(s, row, u, 1)};
    activate<T, 2, 0>(a);
    Vec<T> r = a[0], z = a[1];
    store<T>(s.rh + at, r * load<T>(s.h_prev + at, n), n);
    save(s, row, u, n, 0, r);
    save(s, row, u, n, 1, z);
  }
  // acc + dy is the gradient of r*h
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    if (s.dy) acc += load<T>(s.dy + at, n);
    Vec<T> r = gate(s, row, u, n, 0), h_prev = load<T>(s.h_prev + at, n);
    save_da(s, row, u, n, 0, acc * h_prev * (r * (T(1) - r)));
    store<T>(s.dh + at, acc * r + load<T>(s.dh + at, n), n);
    store<T>(s.rh + at, r * h_prev, n);
  }
};

struct GruBeforeOutput {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> candidate = tanh<T>(acc[0] + pre(s, row, u, 2));
    Vec<T> z = load<T>(s.gates + row * s.gates_ld + s.H + u, n);
    store<T>(s.h + at, z * (load<T>(s.h_prev + at, n) - candidate) + candidate, n);
    save(s, row, u, n, 2, candidate);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    Vec<T> dh = total_dh(s, acc, at, n);
    Vec<T> z = gate(s, row, u, n, 1), candidate = gate(s, row, u, n, 2);
    save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - candidate) * (z * (T(1) - z)));
    save_da(s, row, u, n, 2, dh * (T(1) - z) * (T(1) - candidate * candidate));
    store<T>(s.dh + at, dh * z, n);
  }
};

// dh += what comes through the product: the gradient of the initial state
struct Accumulate {
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, Vec<T> acc, long row, long u, int n) {
    long at = row * s.H + u;
    store<T>(s.dh + at, total_dh(s, acc, at, n), n);
  }
};

}  // namespace
