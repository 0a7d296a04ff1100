// One table of kernels for one instruction set. setup.py compiles this file once per set, with FASTRNN_ISA naming it.
#include <type_traits>

#include "simd.hpp"

#include "cells.hpp"
#include "flat.hpp"
#include "pack.hpp"
#include "product.hpp"
#include "rows.hpp"
#include "unpacked.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Kernels;
using fastrnn::Product;

// Bring a tile of a product with G gate blocks to where it belongs.
template <int G, class T>
__attribute__((noinline)) void put_tile(const Product<T>* p, const Vec<T>* tile, int stride, long row, int rows, long u,
                                        long units) {
  constexpr int V = width<T>;
  const auto put = [&](const T* from, long at, Vec<T> bias, int n) {
#pragma GCC unroll 1
    for (int r = 0; r < rows; ++r, from += stride * V) {
      T* out = p->out + number_of(p->out_rows, row + r) * p->ld + at;
      store<T>(out, load<T>(from) + (p->add ? load<T>(out, n) : bias), n);
    }
  };
  for (int v = 0; v < units; ++v) {
    const long column = (u + v) * V;
    const int n = int(smaller(V, p->columns - column));
    for (int g = 0; g < G; ++g) {
      const T* from = reinterpret_cast<const T*>(tile + v * G) + g * n;
      const Vec<T> bias = p->bias ? load<T>(p->bias + g * p->columns + column, n) : Vec<T>{};
      if (n == V)
        put(from, p->block[g] + column, bias, V);
      else
        put(from, p->block[g] + column, bias, n);
    }
  }
}

template <int G, class T> FASTRNN_INLINE Operands<T> operands_of(const Product<T>* p) {
  return {p->a, p->a_rows, p->row_stride, p->k_stride, p->panels, p->K, layout_of<T>(G, p->narrow, p->columns)};
}

// Rows that are too few for a cell's chains of operations to overlap: the vectors of a row then take their place, as those of
// a lone one do. Two rows take 2 to 4 % less time (H128, one thread), three no less.
constexpr int FEW_ROWS = 2;

// A tile of a product with G gate blocks: some rows, and unit vectors of one group or, of few rows, of several.
template <int G, class T>
__attribute__((noinline)) void make_tile(const Product<T>* p, long row, int rows, long u, long units, bool backwards) {
  constexpr int most = MAX_ROWS * (most_vectors(G) > FEW_ROWS * G ? most_vectors(G) : FEW_ROWS * G);
  alignas(64) Vec<T> tile[most + 1];
  tile[most] = Vec<T>{};
  const Operands<T> o = operands_of<G>(p);
  const Group group(o.layout, u, u + units);
  if (rows == 1) {
    multiply_row(o, group, o.a + number_of(o.numbers, row) * o.row_stride, backwards, tile);
  } else {
    multiply_group<T, false>(o, group, row, row + rows, 0, o.K, backwards, in_tile<T>(tile, row, group.vectors),
                             [](long, int) {});
  }
  put_tile<G>(p, tile, group.vectors, row, rows, u, units);
}

// The lines of a row, all at once: another thread may have written them.
template <class T> FASTRNN_INLINE void prefetch_row(const T* row, long n) {
  for (long k = 0; k < n; k += LINE / long(sizeof(T))) __builtin_prefetch(row + k);
}

// Where the vectors of row `row`'s units stand if they take the place of rows: vector v in row v, at unit row * H + u.
template <class T> FASTRNN_INLINE Where<T> of_vectors(const Where<T>& w, long row) {
  constexpr long V = width<T>;
  return {V, w.pre + row * (w.pre_ld - w.ld), V, w.gates ? w.gates + row * (w.gates_ld - w.ld) : nullptr, V};
}

// A cell's elementwise step over some rows of a vector of units, the last one where not `whole`. As functions of their own they
// do not compete for registers with the loops around them.
template <class Cell, bool whole, class T>
__attribute__((noinline)) void forward_rows(const Forward<T>& s, const Where<T>& w, const Vec<T>* acc, int stride, long row,
                                            int rows, long u) {
  Cell::forward(s, w, acc, stride, row, rows, u, whole ? width<T> : int(s.H - u));
}
template <class Cell, bool whole, class T>
__attribute__((noinline)) void backward_rows(const Backward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u) {
  Cell::backward(s, acc, stride, row, rows, u, whole ? width<T> : int(s.H - u));
}

// The same of a last vector of units that is not full: where its sums stand together, gate g's n from element g * n on, they
// are taken apart.
template <class Cell, class T>
__attribute__((noinline)) void forward_last(const Forward<T>& s, const Vec<T>* acc, int stride, long row, int rows, long u) {
  constexpr int G = Cell::G;
  const int n = int(s.H - u);
  if (G == 1 || s.K == 0) return forward_rows<Cell, false>(s, s.where, acc, stride, row, rows, u);
  alignas(64) Vec<T> apart[MAX_ROWS * G];
  for (int r = 0; r < rows; ++r)
    for (int g = 0; g < G; ++g)
      apart[r * G + g] = first_lanes<T>(load<T>(reinterpret_cast<const T*>(acc + r * stride) + g * n), n);
  forward_rows<Cell, false>(s, s.where, apart, G, row, rows, u);
}

// Unit vectors from u on, of a group of so many, that lie within H.
template <class T> FASTRNN_INLINE int whole_vectors(long H, long u, long units) {
  return int(smaller(units, H / width<T> - u));
}

// A tile of a product that has been made apart.
template <int G, class T>
void take_sums(const Forward<T>& s, Vec<T>* tile, int stride, long row, int rows, long u, long units) {
  constexpr int V = width<T>;
  for (int v = 0; v < units; ++v) {
    const long unit = (u + v) * V;
    const int n = int(smaller(V, s.H - unit));
    for (int r = 0; r < rows; ++r)
      for (int g = 0; g < G; ++g)
        tile[r * stride + v * G + g] = load<T>(s.sums + (row + r) * s.sums_ld + g * s.H + unit, n);
  }
}

// The k of all tiles of some rows, at least.
template <class T> FASTRNN_INLINE long all_k(const Operands<T>& o, long rows) {
  const long vectors = o.layout.units * o.layout.G;
  return (rows + MAX_ROWS - 1) / MAX_ROWS * ((vectors + MAX_VECTORS - 1) / MAX_VECTORS) * o.K;
}

template <class Cell, class T> FASTRNN_INLINE Operands<T> operands_of(const Forward<T>& s) {
  Operands<T> o{s.a, nullptr, s.K, 1, s.panels, s.K, layout_of<T>(Cell::G, s.narrow, s.H)};
  if (s.K == 0) o.layout.last = Cell::G;  // sums that have been made apart, or none
  return o;
}
template <class T> FASTRNN_INLINE Operands<T> operands_of(const Backward<T>& s) {
  return {s.a, nullptr, s.a_ld, 1, s.panels, s.K, layout_of<T>(1, s.narrow, s.H)};
}

// Forward step of one cell over a row alone.
template <class Cell, bool narrow, class T>
__attribute__((noinline)) void forward_lone(const Forward<T>& s, long row, long unit0, long unit1) {
  constexpr int V = width<T>, G = Cell::G;
  // its vectors advance together, as rows do; peepholes are the same for all rows, not for all vectors
  const bool together = !s.rules->p;
  const Where<T> turned = of_vectors(s.where, row);
  const bool shared = unit1 - unit0 < s.H;  // other threads make the rest of its units
  if (s.input) prefetch_row(s.input->a + row * s.input->row_stride, s.input->K);
  if (shared && s.K > 0) prefetch_row(s.a + row * s.K, s.K);
  for_lone_row<G, narrow>(operands_of<Cell>(s), row, unit0 / V, vectors<T>(unit1), s.backwards,
                  [&](long u, long units) {
                    if (s.input) make_tile<G>(s.input, row, 1, u, units, s.backwards);
                  },
                  [&](Vec<T>* tile, long u, long units) {
                    if (s.sums) take_sums<G>(s, tile, 0, row, 1, u, units);
                    const int whole = whole_vectors<T>(s.H, u, units);
                    if (together && whole > 0) forward_rows<Cell, true>(s, turned, tile, G, 0, whole, row * s.H + u * V);
                    for (int v = 0; !together && v < whole; ++v)
                      forward_rows<Cell, true>(s, s.where, tile + v * G, 0, row, 1, (u + v) * V);
                    if (whole < units)
                      forward_last<Cell>(s, tile + whole * G, 0, row, 1, (u + whole) * V);
                  });
  if (s.stream) settle();
}

// Forward step of one cell over several rows.
template <class Cell, class T>
__attribute__((noinline)) void forward_tiles(const Forward<T>& s, long row0, long row1, long unit0, long unit1) {
  constexpr int V = width<T>;
  Operands<T> o = operands_of<Cell>(s);
  const bool few = row1 - row0 <= FEW_ROWS && s.K > 0 && !s.narrow && !s.rules->p;
  if (few) o.layout.at_once = MAX_ROWS;
  Fetch<T> fetch(&s.next, all_k(o, row1 - row0));
  if (fetch.step) o.fetch = &fetch;
  for_tiles<T, Cell::G, false>(o, row0, row1, unit0 / V, vectors<T>(unit1), s.backwards,
               [&](long row, int rows, long u, long units) {
                 if (s.input) make_tile<Cell::G>(s.input, row, rows, u, units, s.backwards);
               },
               [&](Vec<T>* tile, int stride, long row, int rows, long u, long units) {
                 if (s.sums) take_sums<Cell::G>(s, tile, stride, row, rows, u, units);
                 const int whole = whole_vectors<T>(s.H, u, units);
                 for (int r = 0; few && whole > 0 && r < rows; ++r)
                   forward_rows<Cell, true>(s, of_vectors(s.where, row + r), tile + r * stride, Cell::G, 0, whole,
                                            (row + r) * s.H + u * V);
                 for (int v = 0; !few && v < whole; ++v)
                   forward_rows<Cell, true>(s, s.where, tile + v * Cell::G, stride, row, rows, (u + v) * V);
                 if (whole < units)
                   forward_last<Cell>(s, tile + whole * Cell::G, stride, row, rows, (u + whole) * V);
               });
  if (s.stream) settle();
}

// Forward step of one cell.
template <class Cell, class T>
FASTRNN_INLINE void forward_step(const Forward<T>& s, long row0, long row1, long unit0, long unit1) {
  if (row1 - row0 == 1 && !s.narrow) return forward_lone<Cell, false>(s, row0, unit0, unit1);
  if (row1 - row0 == 1) return forward_lone<Cell, true>(s, row0, unit0, unit1);
  forward_tiles<Cell>(s, row0, row1, unit0, unit1);
}

// What the forward pass has left for a tile's step, and where rows and tiles are too far apart for the CPU to foresee it:
// fetched into L2 while the product runs.
template <class T> FASTRNN_INLINE void prefetch_block(const T* at, long ld, int rows, int vectors) {
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) __builtin_prefetch(at + r * ld + v * width<T>, 0, 2);
}
template <class T> FASTRNN_INLINE void prefetch_tape(const Backward<T>& s, long row, int rows, long unit, int vectors) {
  const long at = row * s.H + unit;
  if (s.gates)
    for (long g = 0; g < s.gates_ld; g += s.H) prefetch_block(s.gates + row * s.gates_ld + g + unit, s.gates_ld, rows, vectors);
  if (s.dy) prefetch_block(s.dy + at, s.H, rows, vectors);
  prefetch_block((s.c_prev ? s.c_prev : s.h_prev) + at, s.H, rows, vectors);
}

// Some rows and unit vectors of a step backward.
template <class Cell, class T>
FASTRNN_INLINE void backward_tile(const Backward<T>& s, const Vec<T>* tile, int stride, long row, int rows, long u,
                                  long units) {
  constexpr int V = width<T>;
  const int whole = whole_vectors<T>(s.H, u, units);
  for (int v = 0; v < whole; ++v) backward_rows<Cell, true>(s, tile + v, stride, row, rows, (u + v) * V);
  if (whole < units) backward_rows<Cell, false>(s, tile + whole, stride, row, rows, (u + whole) * V);
}

template <class Cell, bool narrow, class T>
__attribute__((noinline)) void backward_lone(const Backward<T>& s, long row, long unit0, long unit1) {
  if (unit1 - unit0 < s.H && s.K > 0) prefetch_row(s.a + row * s.a_ld, s.K);
  for_lone_row<1, narrow>(operands_of(s), row, unit0 / width<T>, vectors<T>(unit1), s.backwards, [](long, long) {},
                  [&](const Vec<T>* tile, long u, long units) { backward_tile<Cell>(s, tile, 0, row, 1, u, units); });
}

template <class Cell, class T>
__attribute__((noinline)) void backward_tiles(const Backward<T>& s, long row0, long row1, long unit0, long unit1) {
  constexpr int V = width<T>;
  Operands<T> o = operands_of(s);
  Fetch<T> fetch(&s.next, all_k(o, row1 - row0));
  if (fetch.step) o.fetch = &fetch;
  for_tiles<T, 1, true>(o, row0, row1, unit0 / V, vectors<T>(unit1), s.backwards,
               [&](long row, int rows, long u, long units) {
                 if (!std::is_same<Cell, Accumulate>::value && s.K > 0 && !s.fetched)
                   prefetch_tape(s, row, rows, u * V, int(units));
               },
               [&](const Vec<T>* tile, int stride, long row, int rows, long u, long units) {
                 backward_tile<Cell>(s, tile, stride, row, rows, u, units);
               });
}

template <class Cell, class T>
FASTRNN_INLINE void backward_step(const Backward<T>& s, long row0, long row1, long unit0, long unit1) {
  if (row1 - row0 == 1 && !s.narrow) return backward_lone<Cell, false>(s, row0, unit0, unit1);
  if (row1 - row0 == 1) return backward_lone<Cell, true>(s, row0, unit0, unit1);
  backward_tiles<Cell>(s, row0, row1, unit0, unit1);
}

template <class T>
void forward(int epilogue, const Forward<T>* s, long row0, long row1, long unit0, long unit1) {
  switch (epilogue) {
    case fastrnn::RNN_TANH: return forward_step<RnnTanh>(*s, row0, row1, unit0, unit1);
    case fastrnn::RNN_RELU: return forward_step<RnnRelu>(*s, row0, row1, unit0, unit1);
    case fastrnn::RNN_ANY: return forward_step<RnnAny>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM: return forward_step<Lstm>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM_CELL: return forward_step<LstmCell<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM_OUTPUT: return forward_step<LstmOutput<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::COUPLED_CELL: return forward_step<LstmCell<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::COUPLED_OUTPUT: return forward_step<LstmOutput<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU: return forward_step<Gru<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_ANY: return forward_step<Gru<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_GATES: return forward_step<GruBeforeGates<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_GATES_ANY: return forward_step<GruBeforeGates<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_OUTPUT: return forward_step<GruBeforeOutput<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_OUTPUT_ANY: return forward_step<GruBeforeOutput<true>>(*s, row0, row1, unit0, unit1);
  }
}

template <class T>
void backward(int epilogue, const Backward<T>* s, long row0, long row1, long unit0, long unit1) {
  switch (epilogue) {
    case fastrnn::RNN_TANH: return backward_step<RnnTanh>(*s, row0, row1, unit0, unit1);
    case fastrnn::RNN_RELU: return backward_step<RnnRelu>(*s, row0, row1, unit0, unit1);
    case fastrnn::RNN_ANY: return backward_step<RnnAny>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM: return backward_step<Lstm>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM_CELL: return backward_step<LstmCell<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::LSTM_OUTPUT: return backward_step<LstmOutput<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::COUPLED_CELL: return backward_step<LstmCell<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::COUPLED_OUTPUT: return backward_step<LstmOutput<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU: return backward_step<Gru<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_ANY: return backward_step<Gru<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_GATES: return backward_step<GruBeforeGates<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_GATES_ANY: return backward_step<GruBeforeGates<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_OUTPUT: return backward_step<GruBeforeOutput<false>>(*s, row0, row1, unit0, unit1);
    case fastrnn::GRU_BEFORE_OUTPUT_ANY: return backward_step<GruBeforeOutput<true>>(*s, row0, row1, unit0, unit1);
    case fastrnn::ACCUMULATE: return backward_step<Accumulate>(*s, row0, row1, unit0, unit1);
  }
}

// Where the tile at hand goes: fetched while the product runs.
template <class T> FASTRNN_INLINE void prefetch_tile(const Product<T>* p, long row, int rows, long u, int vectors) {
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v)
      __builtin_prefetch(p->out + number_of(p->out_rows, row + r) * p->ld + (u + v) * width<T>, 1);
}

template <int G, class T>
void product_of(const Product<T>* p, long row0, long row1, long column0, long column1) {
  const long first = column0 / width<T>, last = vectors<T>(column1);
  if (row1 - row0 == 1) {
    const auto put = [&](const Vec<T>* tile, long u, long units) { put_tile<G>(p, tile, 0, row0, 1, u, units); };
    if (p->narrow) return for_lone_row<G, true>(operands_of<G>(p), row0, first, last, false, [](long, long) {}, put);
    return for_lone_row<G, false>(operands_of<G>(p), row0, first, last, false, [](long, long) {}, put);
  }
  for_tiles<T, G, false>(operands_of<G>(p), row0, row1, first, last, false,
               [&](long row, int rows, long u, long units) {
                 if (p->add) prefetch_tile(p, row, rows, u, int(units));
               },
               [&](const Vec<T>* tile, int stride, long row, int rows, long u, long units) {
                 put_tile<G>(p, tile, stride, row, rows, u, units);
               });
}

// A product of whole vectors, several rows and one gate block: tiles go where they belong from registers.
template <class T> void product_of_rows(const Product<T>* p, long row0, long row1, long column0, long column1) {
  Operands<T> o = operands_of<1>(p);
  Fetch<T> fetch(p->next, all_k(o, row1 - row0));
  if (fetch.step) o.fetch = &fetch;
  const long first = column0 / width<T>, last = column1 / width<T>, groups = o.layout.groups(last - first);
  for (long g = 0; g < groups; ++g) {
    const Group group(o.layout, first + g * o.layout.group(), o.layout.end(g, first, last));
    const long column = group.unit0 * width<T>;
    const Result<T> result{p->out + column, p->out_rows, p->ld, p->bias ? p->bias + column : nullptr, p->add};
    multiply_group<T, false>(o, group, row0, row1, 0, o.K, false, result,
                             [&](long row, int rows) { prefetch_tile(p, row, rows, group.unit0, group.vectors); });
  }
}

template <class T>
void product(const Product<T>* p, long row0, long row1, long column0, long column1) {
  if (p->matrix_ld) return product_unpacked(*p, row0, row1, column0, column1);
  if (p->gates == 1 && row1 - row0 > 1 && p->K > 0 && p->columns % width<T> == 0)
    return product_of_rows(p, row0, row1, column0, column1);
  switch (p->gates) {
    case 1: return product_of<1>(p, row0, row1, column0, column1);
    case 2: return product_of<2>(p, row0, row1, column0, column1);
    case 3: return product_of<3>(p, row0, row1, column0, column1);
    default: return product_of<4>(p, row0, row1, column0, column1);
  }
}

// Gradients of inputs are products like any other.
template <class T> long back_size(long K, long columns) { return packed_size<T>(K, columns, 1); }

template <class T>
void pack_back(T* dst, const T* src, long K, long columns, long k_stride, long column_stride, long first, long last) {
  pack<T>(dst, src, K, columns, 1, false, k_stride, column_stride, 0, first, last);
}

template <class T> void product_back(const Product<T>* p, long row0, long row1, long column0, long column1, T*) {
  product<T>(p, row0, row1, column0, column1);
}

long gap_unit(long, long) { return 0; }

// Rows of b that are packed at a time: with 64 columns of float, 128 KB, which stay in L2 while a passes by; fewer would load
// and store the tiles of the result more often.
constexpr long OUTER_ROWS = 512;
constexpr int OUTER_TILE = tile_rows(STRIP_VECTORS);

// Elements of a left side of M columns once it is packed: whole tiles.
constexpr long packed_side(long M) { return (M + OUTER_TILE - 1) / OUTER_TILE * OUTER_TILE * OUTER_ROWS; }

template <class T> long outer_scratch(long M0, long M1, long columns) {
  const long left = packed_side(M0) + packed_side(M1), turned = packed_side(columns);
  return (left > turned ? left : turned) + OUTER_ROWS * STRIP_VECTORS * width<T>;
}

// The left side of an outer product: element (k, i) of tile i / OUTER_TILE is at[i * i_stride + k * k_stride].
template <class T> struct Left {
  const T* at;
  long k_stride, i_stride;
};

// Columns of a to tiles [columns / OUTER_TILE][k][OUTER_TILE]. Some rows at a time, whole ones, and the next ones fetched
// meanwhile: another thread may have written them, and from its cache single lines come slowly.
template <class T> void pack_left(const T* a, const int64_t* numbers, long lda, long M, long rows, T* packed) {
  constexpr long BLOCK = 16;
  for (long k0 = 0; k0 < rows; k0 += BLOCK) {
    const long k1 = smaller(k0 + BLOCK, rows);
    for (long k = k1; k < smaller(k1 + BLOCK, rows); ++k)
      for (long i = 0; i < M; i += LINE / long(sizeof(T))) __builtin_prefetch(a + number_of(numbers, k) * lda + i);
    for (long i = 0; i < M; i += OUTER_TILE) {
      T* tile = packed + i * rows;
      if (M - i >= OUTER_TILE)
        for (long k = k0; k < k1; ++k)
          std::memcpy(tile + k * OUTER_TILE, a + number_of(numbers, k) * lda + i, OUTER_TILE * sizeof(T));
      else
        for (long k = k0; k < k1; ++k)
          std::memcpy(tile + k * OUTER_TILE, a + number_of(numbers, k) * lda + i, (M - i) * sizeof(T));
    }
  }
}

// Bytes from row to row of a matrix whose columns can be walked down where they stand: L2 keeps the lines of a block for the
// tiles beside. With longer steps they fall into too few of its sets, and the matrix is packed. Not to pack takes 2 to 5 %
// off training (N16 to N128, H64 to H256, one thread); 2 KB and more add 1 to 3 % (H512, H1024).
constexpr long WALKED_STEP = 1024;

// M columns of `rows` rows, by number where there are numbers, in `packed` where they have to be packed.
template <class T> Left<T> left_side(const T* a, const int64_t* numbers, long lda, long M, long rows, T* packed) {
  if (!numbers && lda * long(sizeof(T)) <= WALKED_STEP) return {a, lda, 1};
  pack_left<T>(a, numbers, lda, M, rows, packed);
  return {packed, OUTER_TILE, rows};
}

// Pack rows of b, NV vectors wide, and add them up.
template <class T, int NV>
void pack_and_sum(const T* b, const int64_t* numbers, long ldb, long rows, int last, T* sums, T* packed) {
  constexpr int V = width<T>;
  Vec<T> sum[NV];
  for (int v = 0; v < NV; ++v) sum[v] = sums ? load<T>(sums + v * V, v == NV - 1 ? last : V) : Vec<T>{};
  for (long k = 0; k < rows; ++k)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      Vec<T> x = load<T>(b + number_of(numbers, k) * ldb + v * V, v == NV - 1 ? last : V);
      store<T>(packed + (k * NV + v) * V, x);
      sum[v] += x;
    }
  if (sums)
    for (int v = 0; v < NV; ++v) store<T>(sums + v * V, sum[v], v == NV - 1 ? last : V);
}

// Pack rows of b, up to a panel of columns, and add them up.
template <class T>
void pack_right(const T* b, const int64_t* numbers, long ldb, long rows, long columns, T* sums, T* packed) {
  const long NV = vectors<T>(columns);
  const int last = int(columns - (NV - 1) * width<T>);
  switch (NV) {
    case 4: return pack_and_sum<T, 4>(b, numbers, ldb, rows, last, sums, packed);
    case 3: return pack_and_sum<T, 3>(b, numbers, ldb, rows, last, sums, packed);
    case 2: return pack_and_sum<T, 2>(b, numbers, ldb, rows, last, sums, packed);
    default: return pack_and_sum<T, 1>(b, numbers, ldb, rows, last, sums, packed);
  }
}

// out (M, columns) = left' right, or +=; right is packed: one panel, and nothing behind it to be fetched ahead. What is, before
// it is written or added to, is the next tile: 10 % less time where it is in no cache (N1, H512).
template <class T>
void put_product(const Left<T>& left, long M, const T* right, long columns, long K, bool add, T* out, long ld) {
  const int NV = int(vectors<T>(columns));
  const bool whole = columns % width<T> == 0;
  for (long i = 0; i < M; i += OUTER_TILE, out += OUTER_TILE * ld) {
    const T* a = left.at + i * left.i_stride;
    const int rows = int(smaller(OUTER_TILE, M - i));
    const Product<T> tile{K, columns, a, 1, left.k_stride, right, false, nullptr, out, ld, add};
    if (!whole || rows == 1) {
      product<T>(&tile, 0, rows, 0, columns);
      continue;
    }
    if (add && i == 0) prefetch_tile(&tile, 0, rows, 0, NV);
    prefetch_tile(&tile, OUTER_TILE, int(smaller(OUTER_TILE, M - i - OUTER_TILE)), 0, NV);
    kernel_for<T, false>(NV, rows)(a, nullptr, 1, left.k_stride, right, K, right, 0, out, nullptr, ld, nullptr, add);
  }
}

template <class T> constexpr long right_panel = STRIP_VECTORS * width<T>;

// A matrix from row k0 on: where its rows begin, and the numbers of these.
template <class T> struct From {
  const T* at;
  const int64_t* numbers;

  From(const T* matrix, const int64_t* rows, long ld, long k0)
      : at(matrix + (rows ? 0 : k0 * ld)), numbers(rows ? rows + k0 : nullptr) {}
};
template <class T> From<T> left_from(const fastrnn::Outer<T>* o, int side, long k0) {
  return {o->a[side], o->a_rows[side], o->M[side], k0};
}
template <class T> From<T> right_from(const fastrnn::Outer<T>* o, long k0) { return {o->b, o->b_rows, o->ldb, k0}; }

// Rows k0..k0+K of a weight gradient.
template <class T>
void outer_rows(const fastrnn::Outer<T>* o, long k0, long K, long column0, long column1, T* scratch) {
  T* packed[2] = {scratch, scratch + packed_side(o->M[0])};
  T* right = packed[1] + packed_side(o->M[1]);
  Left<T> left[2];
  for (int side = 0; side < 2; ++side) {
    const From<T> from = left_from(o, side, k0);
    left[side] = left_side(from.at, from.numbers, o->M[side], o->M[side], K, packed[side]);
  }
  const From<T> b = right_from(o, k0);
  for (long column = column0; column < column1; column += right_panel<T>) {
    const long columns = smaller(right_panel<T>, column1 - column);
    pack_right<T>(b.at + column, b.numbers, o->ldb, K, columns, o->sums ? o->sums + column : nullptr, right);
    for (int side = 0; side < 2; ++side)
      put_product<T>(left[side], o->M[side], right, columns, K, o->add || k0 > 0, o->out[side] + column, o->ld);
  }
}

// The same of a transposed one: b stands to the left, and each a in its turn to the right.
template <class T>
void outer_rows_transposed(const fastrnn::Outer<T>* o, long k0, long K, long column0, long column1, T* scratch) {
  const long rows = column1 - column0;
  const From<T> b = right_from(o, k0);
  const Left<T> left = left_side(b.at + column0, b.numbers, o->ldb, rows, K, scratch);
  T* right = scratch + packed_side(rows);
  for (int side = 0; side < 2; ++side) {
    const long M = o->M[side];
    const From<T> from = left_from(o, side, k0);
    for (long column = 0; column < M; column += right_panel<T>) {
      const long columns = smaller(right_panel<T>, M - column);
      pack_right<T>(from.at + column, from.numbers, M, K, columns, nullptr, right);
      put_product<T>(left, rows, right, columns, K, o->add || k0 > 0, o->out[side] + column0 * M + column, M);
    }
  }
}

template <class T> void outer_columns(const fastrnn::Outer<T>* o, long column0, long column1, T* scratch) {
  for (long k0 = 0; k0 < o->R; k0 += OUTER_ROWS) {
    const long K = smaller(OUTER_ROWS, o->R - k0);
    if (o->transposed)
      outer_rows_transposed(o, k0, K, column0, column1, scratch);
    else
      outer_rows(o, k0, K, column0, column1, scratch);
  }
  if (o->transposed && o->sums) {
    const fastrnn::ColumnSums<T> sums{o->R, o->b, o->ldb, nullptr, 0, o->sums, o->b_rows};
    column_sums(&sums, column0, column1);
  }
}

template <class T> void outer(const fastrnn::Outer<T>* outers, int n, int thread, int threads, T* scratch) {
  for (const fastrnn::Outer<T>* o = outers; o < outers + n; ++o)
    outer_columns<T>(o, share_of<T>(o->columns, thread, threads), share_of<T>(o->columns, thread + 1, threads), scratch);
}

template <class T, Vec<T> function(Vec<T>)> void elementwise(const T* x, T* y, long n) {
  for (long k = 0; k < n; k += width<T>) {
    const int some = int(smaller(width<T>, n - k));
    store<T>(y + k, function(load<T>(x + k, some)), some);
  }
}

long fma_loop(long iterations) {
  constexpr int chains = FASTRNN_REGISTERS == 32 ? 16 : 12;
  Vec<float> acc[chains], x = all(1.0f), y = all(1e-9f);
  for (int k = 0; k < chains; ++k) acc[k] = all(float(k));
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : FASTRNN_IN_PLACE(x), FASTRNN_IN_PLACE(y));
#pragma GCC unroll 16
    for (int k = 0; k < chains; ++k) acc[k] += x * y;
  }
  Vec<float> sum = {};
  for (int k = 0; k < chains; ++k) sum += acc[k];
  asm volatile("" ::"m"(sum));
  return iterations * chains * width<float> * 2;
}

// As a lone row's product walks panels, but all that happens is that they are read.
long read_loop(const float* data, long count, long times) {
  constexpr long block = MAX_VECTORS * width<float>;
  const long blocks = count / block;
  Vec<float> sums[MAX_VECTORS] = {};
  for (long t = 0; t < times; ++t)
    for (long i = 0; i < blocks; ++i) {
      const float* at = data + (t % 2 ? blocks - 1 - i : i) * block;
#pragma GCC unroll 4
      for (int v = 0; v < MAX_VECTORS; ++v) sums[v] += load<float>(at + v * width<float>);
    }
  asm volatile("" ::"m"(sums));
  return times * blocks * block * long(sizeof(float));
}

template <class T> constexpr Kernels<T> kernels() {
  return {width<T>, PACKED_ROWS, first_unit<T>, narrow, packed_size<T>, pack<T>, forward<T>, backward<T>, product<T>,
          back_size<T>, pack_back<T>, product_back<T>, gap_unit, outer<T>, outer_scratch<T>, rows<T>, column_sums<T>,
          elementwise<T, sigmoid<T>>, elementwise<T, tanh<T>>, update<T>, sum_of_squares<T>, cross_entropy<T>};
}

}  // namespace

#define FASTRNN_QUOTE_(name) #name
#define FASTRNN_QUOTE(name) FASTRNN_QUOTE_(name)

namespace fastrnn {
namespace tables {
extern const Isa FASTRNN_ISA;
const Isa FASTRNN_ISA = {FASTRNN_QUOTE(FASTRNN_ISA), kernels<float>(), kernels<double>(), fma_loop, read_loop};
}  // namespace tables
}  // namespace fastrnn
