// The cells' elementwise steps, forward and backward, on one vector of units of some rows.
//
// `acc` holds the products' results: G vectors, one per gate block, of each row, `stride` vectors from row to row. n
// counts the units that exist (the rest of the vector lies past H). Where a step needs one activation after another,
// all rows do the first before any does the second: see activate(). Equations and gate orders: fastrnn/cells.py.
#pragma once

#include "functions.hpp"
#include "product.hpp"
#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Backward;
using fastrnn::Forward;
using fastrnn::Where;

// Gate block g of the projected input. The buffer has slack behind its last row, so a whole vector may be read.
template <class T> FASTRNN_INLINE Vec<T> pre(const Forward<T>& s, const Where<T>& w, long row, long u, int g) {
  return load<T>(w.pre + row * w.pre_ld + g * s.block + u);
}

template <class T> FASTRNN_INLINE Vec<T> gate(const Backward<T>& s, long row, long u, int n, int g) {
  return load<T>(s.gates + row * s.gates_ld + g * s.H + u, n);
}

template <class T>
FASTRNN_INLINE void save(const Forward<T>& s, const Where<T>& w, long row, long u, int n, int g, Vec<T> v) {
  T* at = w.gates + row * w.gates_ld + g * s.block + u;
  s.stream ? stream<T>(at, v) : store<T>(at, v, n);
}

template <class T> FASTRNN_INLINE void save_da(const Backward<T>& s, long row, long u, int n, int g, Vec<T> v) {
  store<T>(s.da + row * s.da_ld + g * s.H + u, v, n);
}

// What comes through the product.
template <class T> FASTRNN_INLINE Vec<T> through_product(const Backward<T>& s, Vec<T> acc, long at, int n) {
  if (s.extra) acc += load<T>(s.extra + at, n);
  if (s.mask) acc = rounded(acc * load<T>(s.mask + at, n));
  return acc;
}

// dh of this step: what comes through the product, past the product, and from the layer above
template <class T> FASTRNN_INLINE Vec<T> total_dh(const Backward<T>& s, Vec<T> acc, long at, int n) {
  acc = through_product(s, acc, at, n);
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
  // M rows in lockstep, which stay in registers: from memory and back twice takes a lone row 2 to 4 % more time.
  template <int M, class T>
  static FASTRNN_INLINE void together(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                      long u, int n) {
    Vec<T> h[M];
    FASTRNN_EACH(0, M) h[k] = acc[k * stride] + pre(s, w, row + k, u, 0);
    activate<T, 0, M>(h);
    FASTRNN_EACH(0, M) store<T>(s.h + (row + k) * w.ld + u, h[k], n);
  }
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    int r = 0;
#pragma GCC unroll 1
    for (; rows - r >= 4; r += 4) together<4>(s, w, acc + r * stride, stride, row + r, u, n);
    if (rows - r >= 2) together<2>(s, w, acc + r * stride, stride, row + r, u, n), r += 2;
    if (r < rows) together<1>(s, w, acc + r * stride, stride, row + r, u, n);
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
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    for (const long end = row + rows; row < end; ++row, acc += stride)
      store<T>(s.h + row * w.ld + u, at_least<T>(acc[0] + pre(s, w, row, u, 0), T(0)), n);
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

struct RnnAny {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      Vec<T> h = candidate(*s.rules, acc[0] + pre(s, w, row, u, 0));
      if (w.gates) save(s, w, row, u, n, 0, h);
      store<T>(s.h + row * w.ld + u, h, n);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>*, int, long row, int rows, long u, int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row) {
      const long at = row * s.H + u;
      Vec<T> h = s.gates ? gate(s, row, u, n, 0) : load<T>(s.y + at, n);
      save_da(s, row, u, n, 0, load<T>(s.total + at, n) * candidate_slope(*s.rules, h));
    }
  }
};

struct Lstm {
  static constexpr int G = 4;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    Vec<T> c[MAX_ROWS], o[MAX_ROWS];
#pragma GCC unroll 1
    for (int r = 0; r < rows; ++r, acc += stride) {
      const long at = (row + r) * w.ld + u;
      Vec<T> a[4] = {acc[0] + pre(s, w, row + r, u, 0), acc[1] + pre(s, w, row + r, u, 1), acc[3] + pre(s, w, row + r, u, 3),
                     acc[2] + pre(s, w, row + r, u, 2)};
      activate<T, 3, 1>(a);
      Vec<T> i = a[0], f = a[1], g = a[3];
      o[r] = a[2];
      c[r] = f * load<T>(s.c_prev + at, n) + rounded(i * g);
      store<T>(s.c + at, c[r], n);
      if (w.gates) {
        save(s, w, row + r, u, n, 0, i);
        save(s, w, row + r, u, n, 1, f);
        save(s, w, row + r, u, n, 2, g);
        save(s, w, row + r, u, n, 3, o[r]);
      }
    }
    tanh_of<T>(c, rows);
    for (int r = 0; r < rows; ++r) store<T>(s.h + (row + r) * w.ld + u, o[r] * c[r], n);
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

// The LSTM of Rules, first half: c, and o's pre-activation into gates. Blocks: i f g o, or i g o with f = 1 - i.
template <bool coupled> struct LstmCell {
  static constexpr int G = coupled ? 3 : 4, g_block = G - 2, o_block = G - 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    const Rules<T>& rules = *s.rules;
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * w.ld + u;
      Vec<T> c_prev = load<T>(s.c_prev + at, n), i = acc[0] + pre(s, w, row, u, 0), f = acc[1] + pre(s, w, row, u, 1);
      if (rules.p) {
        i += rounded(c_prev * load<T>(rules.p + u, n));
        f += rounded(c_prev * load<T>(rules.p + s.H + u, n));
      }
      i = recurrent(rules, i);
      f = coupled ? T(1) - i : recurrent(rules, f);
      Vec<T> g = candidate(rules, acc[g_block] + pre(s, w, row, u, g_block));
      store<T>(s.c + at, f * c_prev + rounded(i * g), n);
      save(s, w, row, u, n, 0, i);
      if (!coupled) save(s, w, row, u, n, 1, f);
      save(s, w, row, u, n, g_block, g);
      save(s, w, row, u, n, o_block, acc[o_block] + pre(s, w, row, u, o_block));
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>*, int, long row, int rows, long u, int n) {
    const Rules<T>& rules = *s.rules;
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row) {
      const long at = row * s.H + u;
      Vec<T> i = gate(s, row, u, n, 0), g = gate(s, row, u, n, g_block), f = coupled ? T(1) - i : gate(s, row, u, n, 1);
      Vec<T> c_prev = load<T>(s.c_prev + at, n), dc = load<T>(s.dc + at, n);
      Vec<T> di = dc * (coupled ? g - c_prev : g) * recurrent_slope(rules, i), df = {}, past = rounded(dc * f);
      if (!coupled) df = dc * c_prev * recurrent_slope(rules, f);
      if (rules.p) {
        past += rounded(di * load<T>(rules.p + u, n));
        if (!coupled) past += rounded(df * load<T>(rules.p + s.H + u, n));
      }
      save_da(s, row, u, n, 0, di);
      if (!coupled) save_da(s, row, u, n, 1, df);
      save_da(s, row, u, n, g_block, dc * i * candidate_slope(rules, g));
      store<T>(s.dc + at, past, n);
    }
  }
};

// Second half: o and h. acc holds full peepholes' product, or nothing.
template <bool coupled> struct LstmOutput {
  static constexpr int G = 1, o_block = coupled ? 2 : 3, peephole = coupled ? 1 : 2;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    const Rules<T>& rules = *s.rules;
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * w.ld + u;
      Vec<T> o = acc[0] + load<T>(w.gates + row * w.gates_ld + o_block * s.block + u, n);
      if (rules.p) o += rounded(load<T>(s.c + at, n) * load<T>(rules.p + peephole * s.H + u, n));
      o = recurrent(rules, o);
      save(s, w, row, u, n, o_block, o);
      store<T>(s.h + at, o * value(rules.output, load<T>(s.squashed + at, n)), n);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>*, int, long row, int rows, long u, int n) {
    const Rules<T>& rules = *s.rules;
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row) {
      const long at = row * s.H + u;
      Vec<T> o = gate(s, row, u, n, o_block), out = value(rules.output, load<T>(s.squashed + at, n));
      Vec<T> dh = load<T>(s.total + at, n), dc = load<T>(s.dc + at, n);
      Vec<T> d_o = rounded(dh * out * recurrent_slope(rules, o));
      Vec<T> dsquashed = rounded(dh * o * slope(rules.output, out));
      if (s.dsquashed)
        store<T>(s.dsquashed + at, dsquashed, n);
      else
        dc += dsquashed;
      if (rules.p) dc += rounded(d_o * load<T>(rules.p + peephole * s.H + u, n));
      save_da(s, row, u, n, o_block, d_o);
      store<T>(s.dc + at, dc, n);
      if (s.rh) store<T>(s.rh + at, o * out, n);
    }
  }
};

// What a GRU with any functions does otherwise than the usual one.
template <bool any, class T> FASTRNN_INLINE void open_gates(const Forward<T>& s, Vec<T>* two) {
  if constexpr (any) {
    two[0] = recurrent(*s.rules, two[0]);
    two[1] = recurrent(*s.rules, two[1]);
  } else {
    activate<T, 2, 0>(two);
  }
}

template <bool any, class T> FASTRNN_INLINE void candidates(const Forward<T>& s, Vec<T>* v, int rows) {
  if constexpr (any)
    for (int r = 0; r < rows; ++r) v[r] = candidate(*s.rules, v[r]);
  else
    tanh_of<T>(v, rows);
}

template <bool any, class T> FASTRNN_INLINE Vec<T> slope_of_gate(const Backward<T>& s, Vec<T> y) {
  if constexpr (any) return recurrent_slope(*s.rules, y);
  return y * (T(1) - y);
}

template <bool any, class T> FASTRNN_INLINE Vec<T> slope_of_candidate(const Backward<T>& s, Vec<T> y) {
  if constexpr (any) return candidate_slope(*s.rules, y);
  return T(1) - y * y;
}

template <bool any, class T> FASTRNN_INLINE void carry(const Backward<T>& s, long at, int n, Vec<T> past) {
  if (any && s.keep_carry) past = load<T>(s.dh + at, n) + rounded(past);
  store<T>(s.dh + at, past, n);
}

// Blocks of pre and da: r z m n, where m is the reset product U_n h + b_rec.
template <bool any> struct Gru {
  static constexpr int G = 3;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    Vec<T> candidate[MAX_ROWS], z[MAX_ROWS];
#pragma GCC unroll 1
    for (int r = 0; r < rows; ++r, acc += stride) {
      Vec<T> a[2] = {acc[0] + pre(s, w, row + r, u, 0), acc[1] + pre(s, w, row + r, u, 1)};
      open_gates<any>(s, a);
      Vec<T> m = acc[2] + pre(s, w, row + r, u, 2);
      z[r] = a[1];
      candidate[r] = a[0] * m + pre(s, w, row + r, u, 3);
      if (w.gates) {
        save(s, w, row + r, u, n, 0, a[0]);
        save(s, w, row + r, u, n, 1, a[1]);
        save(s, w, row + r, u, n, 2, m);
      }
    }
    candidates<any>(s, candidate, rows);
    for (int r = 0; r < rows; ++r) {
      const long at = (row + r) * w.ld + u;
      store<T>(s.h + at, z[r] * (load<T>(s.h_prev + at, n) - candidate[r]) + candidate[r], n);
      if (w.gates) save(s, w, row + r, u, n, 3, candidate[r]);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = any ? load<T>(s.total + at, n) : total_dh(s, *acc, at, n);
      Vec<T> r = gate(s, row, u, n, 0), z = gate(s, row, u, n, 1), m = gate(s, row, u, n, 2);
      Vec<T> n_gate = gate(s, row, u, n, 3);
      Vec<T> dn = dh * (T(1) - z) * slope_of_candidate<any>(s, n_gate);
      save_da(s, row, u, n, 0, dn * m * slope_of_gate<any>(s, r));
      save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - n_gate) * slope_of_gate<any>(s, z));
      save_da(s, row, u, n, 2, dn * r);
      save_da(s, row, u, n, 3, dn);
      carry<any>(s, at, n, dh * z);
    }
  }
};

// Blocks of pre, gates and da: r z n. This phase has r and z; the next has n, after the product (r*h) U_n.
template <bool any> struct GruBeforeGates {
  static constexpr int G = 2;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * w.ld + u;
      Vec<T> a[2] = {acc[0] + pre(s, w, row, u, 0), acc[1] + pre(s, w, row, u, 1)};
      open_gates<any>(s, a);
      store<T>(s.rh + at, a[0] * load<T>(s.left + at, n), n);
      save(s, w, row, u, n, 0, a[0]);
      save(s, w, row, u, n, 1, a[1]);
    }
  }
  // the product is the gradient of r*left
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> drh = s.extra ? *acc + load<T>(s.extra + at, n) : *acc;
      Vec<T> r = gate(s, row, u, n, 0), left = load<T>(s.left + at, n), dleft = drh * r;
      if (s.mask) dleft = rounded(rounded(dleft) * load<T>(s.mask + at, n));
      save_da(s, row, u, n, 0, drh * left * slope_of_gate<any>(s, r));
      store<T>(s.dh + at, dleft + load<T>(s.dh + at, n), n);
      store<T>(s.rh + at, r * left, n);
    }
  }
};

template <bool any> struct GruBeforeOutput {
  static constexpr int G = 1;
  template <class T>
  static FASTRNN_INLINE void forward(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                     int rows, long u, int n) {
    Vec<T> candidate[MAX_ROWS];
    for (int r = 0; r < rows; ++r) candidate[r] = acc[r * stride] + pre(s, w, row + r, u, 2);
    candidates<any>(s, candidate, rows);
    for (int r = 0; r < rows; ++r) {
      const long at = (row + r) * w.ld + u;
      Vec<T> z = load<T>(w.gates + (row + r) * w.gates_ld + s.block + u, n);
      store<T>(s.h + at, z * (load<T>(s.h_prev + at, n) - candidate[r]) + candidate[r], n);
      save(s, w, row + r, u, n, 2, candidate[r]);
    }
  }
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      Vec<T> dh = any ? load<T>(s.total + at, n) : total_dh(s, *acc, at, n);
      Vec<T> z = gate(s, row, u, n, 1), n_gate = gate(s, row, u, n, 2);
      save_da(s, row, u, n, 1, dh * (load<T>(s.h_prev + at, n) - n_gate) * slope_of_gate<any>(s, z));
      save_da(s, row, u, n, 2, dh * (T(1) - z) * slope_of_candidate<any>(s, n_gate));
      carry<any>(s, at, n, dh * z);
    }
  }
};

// total = dh, and nothing else: before the steps that find it there, and for the gradient of the initial state
struct Accumulate {
  template <class T>
  static FASTRNN_INLINE void backward(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u,
                                      int n) {
#pragma GCC unroll 1
    for (const long end = row + rows; row < end; ++row, acc += stride) {
      const long at = row * s.H + u;
      store<T>(s.total + at, total_dh(s, *acc, at, n), n);
    }
  }
};

}  // namespace
