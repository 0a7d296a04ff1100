// The product with a matrix as it lies, by rows: for calls of so few rows that packing it takes longer than it saves.
//
// Every element is the chain that it is in a packed product, so the bits are the same. Sums wait in `out` while k goes over the
// matrix in blocks, and go on from there.
#pragma once

#include "product.hpp"

using fastrnn::Product;

namespace {

// Rows that repay packing. A call of 100 steps of one row takes 1 to 4 % less time without (H128 to H512, AVX-512); with 16
// registers, whose smaller panels stay in L1 once they are packed, up to 10 % more.
constexpr long PACKED_ROWS = FASTRNN_REGISTERS == 32 ? 128 : 16;

// Rows on the left below which a block is a few rows of the matrix, taken along their whole length: the CPU foresees that,
// while a strip of columns, taken down, would take one row of H256 twice the time.
constexpr long FEW = 4;
constexpr int ALONG = FASTRNN_REGISTERS == 32 ? 8 : 4;

// Rows of the matrix in a block of strips, each multiplied by all rows on the left: in L2 even where they are a power of two
// apart, and so fall into few of its sets.
constexpr long DOWN = 128;

// MR rows from `row` on, K rows of the matrix from k0 on, whole vectors of columns. Column c goes to out + c.
template <class T, int MR, int K>
void multiply_along(const Product<T>& p, long row, long k0, long column0, long column1, T* out) {
  const T* bias = k0 + K == p.K ? p.bias : nullptr;
  const T* m = p.panels + k0 * p.matrix_ld;
  Vec<T> x[MR][K];
  T* to[MR];
#pragma GCC unroll 4
  for (int r = 0; r < MR; ++r) {
    to[r] = out + number_of(p.out_rows, row + r) * p.ld;
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) x[r][k] = all<T>(p.a[number_of(p.a_rows, row + r) * p.row_stride + k0 + k]);
  }
  for (long c = column0; c < column1; c += width<T>) {
    Vec<T> acc[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) acc[r] = k0 > 0 ? load<T>(to[r] + c) : Vec<T>{};
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
      const Vec<T> b = load<T>(m + k * p.matrix_ld + c);
#pragma GCC unroll 4
      for (int r = 0; r < MR; ++r) acc[r] += x[r][k] * b;
    }
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) store<T>(to[r] + c, bias ? acc[r] + load<T>(bias + c) : acc[r]);
  }
}

template <class T, int K>
void multiply_along(const Product<T>& p, int rows, long row, long k0, long column0, long column1, T* out) {
  switch (rows) {
    case 1: return multiply_along<T, 1, K>(p, row, k0, column0, column1, out);
    case 2: return multiply_along<T, 2, K>(p, row, k0, column0, column1, out);
    default: return multiply_along<T, 3, K>(p, row, k0, column0, column1, out);
  }
}

// MR rows from `row` on, rows k0..k1 of the matrix, NV vectors of columns from `column` on, or the first n columns of one.
// With `ahead` the next strip is fetched meanwhile.
template <class T, int MR, int NV>
void multiply_down(const Product<T>& p, long row, long k0, long k1, long column, int n, bool ahead, T* out) {
  constexpr int V = width<T>;
  const auto get = [n](const T* from) { return NV == 1 ? load<T>(from, n) : load<T>(from); };
  const T *left[MR], *m = p.panels + k0 * p.matrix_ld + column, *bias = p.bias && k1 == p.K ? p.bias + column : nullptr;
  T* to[MR];
  Vec<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    left[r] = p.a + number_of(p.a_rows, row + r) * p.row_stride;
    to[r] = out + number_of(p.out_rows, row + r) * p.ld + column;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = k0 > 0 ? get(to[r] + v * V) : Vec<T>{};
  }
  for (long k = k0; k < k1; ++k, m += p.matrix_ld) {
    if (ahead)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) __builtin_prefetch(m + (NV + v) * V, 0, 2);
    Vec<T> b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = get(m + v * V);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const Vec<T> x = all<T>(left[r][k]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] += x * b[v];
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const Vec<T> b = bias ? get(bias + v * V) : Vec<T>{};
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) store<T>(to[r] + v * V, bias ? acc[r][v] + b : acc[r][v], NV == 1 ? n : V);
  }
}

// The same of rows row0..row1.
template <class T, int NV>
void multiply_down(const Product<T>& p, long row0, long row1, long k0, long k1, long column, int n, bool ahead, T* out) {
  constexpr int most = tile_rows(STRIP_VECTORS);
  static constexpr decltype(&multiply_down<T, 1, NV>) kernels[] = {
      multiply_down<T, 1, NV>,
      multiply_down<T, 2, NV>,
      multiply_down<T, 3, NV>,
      multiply_down<T, most < 4 ? most : 4, NV>,
      multiply_down<T, most < 5 ? most : 5, NV>,
      multiply_down<T, most, NV>,
  };
  const Pieces tiles(row1 - row0, most);
  for (long t = 0; t < tiles.count; ++t)
    kernels[tiles.first(t + 1) - tiles.first(t) - 1](p, row0 + tiles.first(t), k0, k1, column, n, ahead && t == 0, out);
}

// Rows k0..k1 of the matrix, whole vectors of columns.
template <class T>
void multiply_block(const Product<T>& p, long row0, long row1, long k0, long k1, long column0, long column1, T* out) {
  constexpr int V = width<T>, strip = STRIP_VECTORS * V;
  const int rows = int(row1 - row0);
  if (rows < FEW && k1 - k0 == ALONG) return multiply_along<T, ALONG>(p, rows, row0, k0, column0, column1, out);
  if (rows < FEW) return multiply_along<T, 1>(p, rows, row0, k0, column0, column1, out);
  long c = column0;
  for (; c + strip <= column1; c += strip)
    multiply_down<T, STRIP_VECTORS>(p, row0, row1, k0, k1, c, V, c + 2 * strip <= column1, out);
  for (; c < column1; c += V) multiply_down<T, 1>(p, row0, row1, k0, k1, c, V, false, out);
}

template <class T> void product_unpacked(const Product<T>& p, long row0, long row1, long column0, long column1) {
  if (row0 >= row1) return;
  bool joined = column0 == 0 && column1 == p.columns;  // the gates' columns follow one another, here and there
  for (int g = 0; g < p.gates; ++g) joined = joined && p.block[g] == g * p.columns;
  const long columns = joined ? p.gates * p.columns : column1 - column0, whole = columns - columns % width<T>;
  const int gates = joined ? 1 : p.gates;
  const auto first = [&](int g) { return g * p.columns + column0; };
  const auto out = [&](int g) { return p.out + p.block[g] - g * p.columns; };
  for (long k0 = 0, k1; k0 < p.K; k0 = k1) {
    k1 = row1 - row0 >= FEW ? smaller(k0 + DOWN, p.K) : p.K - k0 >= ALONG ? k0 + ALONG : k0 + 1;
    for (int g = 0; g < gates; ++g) multiply_block(p, row0, row1, k0, k1, first(g), first(g) + whole, out(g));
  }
  // the columns that are left, and those before them again, which come out as they were: a whole vector takes less time
  const int n = int(smaller(width<T>, columns));
  for (int g = 0; g < gates && whole < columns; ++g)
    multiply_down<T, 1>(p, row0, row1, 0, p.K, first(g) + columns - n, n, false, out(g));
}

}  // namespace
