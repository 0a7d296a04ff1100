// The cells' elementwise steps, forward and backward, on one vector of units of some rows.
//
// `acc` holds the products' results: G vectors, one per gate block, of each row, `stride` vectors from row to row. n
// counts the units that exist (the rest of the vector lies past H). Where a step needs one activation after another,
// all rows do the first before any does the second: see activate(). Equations and gate orders: fastrnn/cells.py.
#pragma once

#include "product.hpp"
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

// tanh of `rows` registers, two in lockstep.
template <class T> FASTRNN_INLINE void tanh_of(Vec<T>* v, int rows) {
#pragma GCC unroll 1
  for (int r = 0; r + 1 < rows; r += 2) activate<T, 0, 2>(v + r);
  if (rows % 2) activate<T, 0, 1>(v + rows - 1);
}

struct RnnTanh {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
    Vec<T> h[MAX_ROWS];
    for (int r = 0; r < rows; ++r) h[r] = acc[r * stride] + pre(s, row + r, u, 0);
    tanh_of<T>(h, rows);
    for (int r = 0; r < rows; ++r) store<T>(s.h + (row + r) * s.H + u, h[r], n);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = total_dh(s, *acc, at, n), y = load<T>(s.y + at, n);
      save_da(s, row, u, n, 0, dh * (T(1) - y * y));
    }
  }
};

struct RnnRelu {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
    for (const long end = row + rows; row < end; ++row, acc += stride)
      store<T>(s.h + row * s.H + u, at_least<T>(acc[0] + pre(s, row, u, 0), T(0)), n);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = total_dh(s, *acc, at, n), y = load<T>(s.y + at, n);
      save_da(s, row, u, n, 0, y > T(0) ? dh : Vec<T>{});
    }
  }
};

struct Lstm {
  static constexpr int G = 4;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
    Vec<T> c[MAX_ROWS], o[MAX_ROWS];
#pragma GCC unroll 1
    for (int r = 0; r < rows; ++r, acc += stride) {
      const long at = (row + r) * s.H + u;
      Vec<T> a[4] = {acc[0] + pre(s, row + r, u, 0), acc[1] + pre(s, row + r, u, 1), acc[3] + pre(s, row + r, u, 3),
                     acc[2] + pre(s, row + r, u, 2)};
      activate<T, 3, 1>(a);
      Vec<T> i = a[0], f = a[1], g = a[3];
      o[r] = a[2];
      c[r] = f * load<T>(s.c_prev + at, n) + rounded(i * g);
      store<T>(s.c + at, c[r], n);
      if (s.gates) {
        save(s, row + r, u, n, 0, i);
        save(s, row + r, u, n, 1, f);
        save(s, row + r, u, n, 2, g);
        save(s, row + r, u, n, 3, o[r]);
      }
    }
    tanh_of<T>(c, rows);
    for (int r = 0; r < rows; ++r) store<T>(s.h + (row + r) * s.H + u, o[r] * c[r], n);
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
    Vec<T> tanh_c[MAX_ROWS];
    for (int r = 0; r < rows; ++r) tanh_c[r] = load<T>(s.c + (row + r) * s.H + u, n);
    tanh_of<T>(tanh_c, rows);
#pragma GCC unroll 1
    for (int k = 0; k < rows; ++k, ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = total_dh(s, *acc, at, n);
      Vec<T> i = gate(s, row, u, n, 0), f = gate(s, row, u, n, 1), g = gate(s, row, u, n, 2), o = gate(s, row, u, n, 3);
      Vec<T> dc = load<T>(s.dc + at, n) + dh * o * (T(1) - tanh_c[k] * tanh_c[k]);
      save_da(s, row, u, n, 0, dc * g * (i * (T(1) - i)));
      save_da(s, row, u, n, 1, dc * load<T>(s.c_prev + at, n) * (f * (T(1) - f)));
      save_da(s, row, u, n, 2, dc * i * (T(1) - g * g));
      save_da(s, row, u, n, 3, dh * tanh_c[k] * (o * (T(1) - o)));
      store<T>(s.dc + at, dc * f, n);
    }
  }
};

// Blocks of pre and da: r z m n, where m is the reset product U_n h + b_rec.
struct Gru {
  static constexpr int G = 3;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
    Vec<T> candidate[MAX_ROWS], z[MAX_ROWS];
#pragma GCC unroll 1
    for (int r = 0; r < rows; ++r, acc += stride) {
      Vec<T> a[2] = {acc[0] + pre(s, row + r, u, 0), acc[1] + pre(s, row + r, u, 1)};
      activate<T, 2, 0>(a);
      Vec<T> m = acc[2] + pre(s, row + r, u, 2);
      z[r] = a[1];
      candidate[r] = a[0] * m + pre(s, row + r, u, 3);
      if (s.gates) {
        save(s, row + r, u, n, 0, a[0]);
        save(s, row + r, u, n, 1, a[1]);
        save(s, row + r, u, n, 2, m);
      }
    }
    tanh_of<T>(candidate, rows);
    for (int r = 0; r < rows; ++r) {
      const long at = (row + r) * s.H + u;
      store<T>(s.h + at, z[r] * (load<T>(s.h_prev + at, n) - candidate[r]) + candidate[r], n);
      if (s.gates) save(s, row + r, u, n, 3, candidate[r]);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = total_dh(s, *acc, at, n);
      Vec<T> r = gate(s, row, u, n, 0), z = gate(s, row, u, n, 1), m = gate(s, row, u, n, 2);
      Vec<T> candidate = gate(s, row, u, n, 3);
      Vec<T> dn = dh * (T(1) - z) * (T(1) - candidate * candidate);
      save_da(s, row, u, n, 0, dn * m * (r * (T(1) - r)));
      save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - candidate) * (z * (T(1) - z)));
      save_da(s, row, u, n, 2, dn * r);
      save_da(s, row, u, n, 3, dn);
      store<T>(s.dh + at, dh * z, n);
    }
  }
};

// Blocks of pre, gates and da: r z n. This phase has r and z; the next has n, after the product (r*h) U_n.
struct GruBeforeGates {
  static constexpr int G = 2;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> a[2] = {acc[0] + pre(s, row, u, 0), acc[1] + pre(s, row, u, 1)};
      activate<T, 2, 0>(a);
      store<T>(s.rh + at, a[0] * load<T>(s.h_prev + at, n), n);
      save(s, row, u, n, 0, a[0]);
      save(s, row, u, n, 1, a[1]);
    }
  }
  // acc + dy is the gradient of r*h
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> drh = *acc;
      if (s.dy) drh += load<T>(s.dy + at, n);
      Vec<T> r = gate(s, row, u, n, 0), h_prev = load<T>(s.h_prev + at, n);
      save_da(s, row, u, n, 0, drh * h_prev * (r * (T(1) - r)));
      store<T>(s.dh + at, drh * r + load<T>(s.dh + at, n), n);
      store<T>(s.rh + at, r * h_prev, n);
    }
  }
};

struct GruBeforeOutput {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                     int n) {
    Vec<T> candidate[MAX_ROWS];
    for (int r = 0; r < rows; ++r) candidate[r] = acc[r * stride] + pre(s, row + r, u, 2);
    tanh_of<T>(candidate, rows);
    for (int r = 0; r < rows; ++r) {
      const long at = (row + r) * s.H + u;
      Vec<T> z = load<T>(s.gates + (row + r) * s.gates_ld + s.H + u, n);
      store<T>(s.h + at, z * (load<T>(s.h_prev + at, n) - candidate[r]) + candidate[r], n);
      save(s, row + r, u, n, 2, candidate[r]);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = total_dh(s, *acc, at, n);
      Vec<T> z = gate(s, row, u, n, 1), candidate = gate(s, row, u, n, 2);
      save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - candidate) * (z * (T(1) - z)));
      save_da(s, row, u, n, 2, dh * (T(1) - z) * (T(1) - candidate * candidate));
      store<T>(s.dh + at, dh * z, n);
    }
  }
};

// dh += what comes through the product: the gradient of the initial state
struct Accumulate {
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      store<T>(s.dh + at, total_dh(s, *acc, at, n), n);
    }
  }
};

}  // namespace
