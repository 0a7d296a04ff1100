// The packed product: a tile of MR rows x NV vectors stays in registers while k runs over a panel.
//
// Every element is one chain of fused multiply-adds over k, started from zero. Neither the tile that holds it nor
// its place in the batch changes the chain, so they do not change the bits either.
#pragma once

#include "vec.hpp"

namespace {

// Rows of the largest tile for NV vectors: accumulators + NV vectors of the panel + one broadcast fill the registers.
constexpr int tile_rows(int NV) {
  return FASTRNN_REGISTERS == 32 ? (NV == 4 ? 6 : 8) : (NV == 4 ? 3 : NV == 3 ? 4 : NV == 2 ? 6 : 8);
}
constexpr int MAX_ROWS = 8;
constexpr int MAX_VECTORS = 4;
constexpr int MAX_TILE = 32;  // vectors of the largest tile

// Panels that one row works on at once. Three vectors are too few independent chains to fill the pipeline; four are as many
// as L2 feeds, faster from one place than from two.
constexpr int row_panels(int NV) { return NV == 3 ? 3 : 1; }

// In a step backward whose K is larger and rows are few, k runs over a panel in blocks, and the rows' tiles wait in memory
// meanwhile: the whole panel would have left L2 before the next tile comes.
constexpr long BLOCK_K = 2048;
constexpr long BLOCK_ROWS = 96;

constexpr long LINE = 64;  // bytes of a cache line

// The r-th of the rows with these numbers; where they are null, rows stand in order.
FASTRNN_INLINE long number_of(const int64_t* numbers, long r) { return numbers ? numbers[r] : r; }

// `ahead` is where the next panel's share of cache lines begins: one is fetched into L2 per k, since matrices larger
// than L2 would else arrive at the pace of memory's latency.
//
// tile[(panel*MR + row)*NV + v] = sum over k of a[row*row_stride + k*k_stride] * panels[panel][k][v], or with `more` goes on
// with that sum; with `numbers`, numbers[row] stands for row.
template <class T, int MR, int NV, int NP, bool more>
void multiply(const T* __restrict a, const int64_t* numbers, long row_stride, long k_stride, const T* __restrict panel,
              long panel_stride, long K, const T* ahead, Vec<T>* __restrict tile) {
  Vec<T> acc[NP][MR][NV];
#pragma GCC unroll 4
  for (int p = 0; p < NP; ++p)
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[p][r][v] = more ? tile[(p * MR + r) * NV + v] : Vec<T>{};
  const T* row[MR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) row[r] = a + number_of(numbers, r) * row_stride;
  long at = 0;
  for (long k = 0; k < K; ++k, at += k_stride, panel += NV * width<T>) {
    if (MR > 1) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += LINE / sizeof(T);
    }
    Vec<T> b[NP][NV];
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) b[p][v] = load<T>(panel + p * panel_stride + v * width<T>);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      Vec<T> x = all<T>(row[r][at]);
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[p][r][v] += x * b[p][v];
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < NP; ++p)
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) tile[(p * MR + r) * NV + v] = acc[p][r][v];
}

template <class T>
using Multiply = void (*)(const T*, const int64_t*, long, long, const T*, long, long, const T*, Vec<T>*);

// The kernel for a tile of rows x NV vectors.
template <class T, int NV, bool more> Multiply<T> multiply_of(int rows) {
  constexpr int most = tile_rows(NV);
  static constexpr Multiply<T> kernels[MAX_ROWS] = {
      multiply<T, 1, NV, 1, more>,
      multiply<T, most < 2 ? most : 2, NV, 1, more>,
      multiply<T, most < 3 ? most : 3, NV, 1, more>,
      multiply<T, most < 4 ? most : 4, NV, 1, more>,
      multiply<T, most < 5 ? most : 5, NV, 1, more>,
      multiply<T, most < 6 ? most : 6, NV, 1, more>,
      multiply<T, most < 7 ? most : 7, NV, 1, more>,
      multiply<T, most, NV, 1, more>,
  };
  return kernels[rows - 1];
}

// The kernel for `count` panels of NV vectors: one of any rows, or several of one row.
template <class T, bool more> FASTRNN_INLINE Multiply<T> kernel_for(int NV, int count, int rows) {
  switch (NV) {
    case 4: return multiply_of<T, 4, more>(rows);
    case 3:
      return count == 3 ? multiply<T, 1, 3, 3, more> : count == 2 ? multiply<T, 1, 3, 2, more> : multiply_of<T, 3, more>(rows);
    case 2: return multiply_of<T, 2, more>(rows);
    default: return multiply_of<T, 1, more>(rows);
  }
}

// Calls body(tile, stride, row, rows, vector, vectors) for every tile of rows row0..row1 and vectors first..last of a
// packed matrix with G gate blocks, `shared` unit vectors a panel.
//
// Row r, unit vector v and gate g of the tile stand at tile[r*stride + v*G + g]. The tile of a lone row has as many vectors
// as others have rows: the body then has enough chains of operations that do not wait for each other.
// `before` is called before a tile's product, or after it where a lone row goes backwards: what one step has read last, the
// next one then reads first. before(row, rows, vector, inside, count), for `count` panels of `inside` unit
// vectors. With `numbers`, row r of a is its row numbers[r].
//
// Panels are gone over forwards or `backwards`: a caller that changes the direction from step to step finds in L2 what
// it has used last, which is half of a matrix of twice that size.
template <class T, bool in_blocks, class Before, class Body>
FASTRNN_INLINE void for_tiles(const T* a, const int64_t* numbers, long row_stride, long k_stride, const T* panels, long K,
                              int G, int shared, long units, long row0, long row1, long first, long last, bool backwards,
                              Before before, Body body) {
  alignas(64) Vec<T> tiles[in_blocks ? BLOCK_ROWS * MAX_VECTORS : MAX_TILE];
  if (K == 0)
    for (int k = 0; k < MAX_TILE; ++k) tiles[k] = Vec<T>{};
  const long n = row1 - row0, block = in_blocks && n > 1 && n <= BLOCK_ROWS && K > BLOCK_K ? BLOCK_K : K;
  const bool lone = n == 1;
  const long piece = (lone ? row_panels(shared * G) : 1) * shared, group = lone ? MAX_ROWS : shared;
  const long groups = lone ? (last - first + MAX_ROWS - 1) / MAX_ROWS : (last - first + shared - 1) / shared;
  for (long g = 0; g < groups; ++g) {
    const long u0 = first + (backwards ? groups - 1 - g : g) * group, end = u0 + group < last ? u0 + group : last;
    const long last_piece = end - u0 > piece ? (end - u0 - 1) / piece * piece : 0;
    const int stride = int(units - u0 < shared ? units - u0 : shared) * G, most = tile_rows(stride);
    const long n_tiles = lone ? 1 : (n + most - 1) / most;
    long k0 = 0;
    do {
      const long k1 = K - k0 > block ? k0 + block : K;
      for (long t = 0, row = row0; t < n_tiles; ++t) {
        const int rows = lone ? 1 : int(n * (t + 1) / n_tiles + row0 - row);
        Vec<T>* tile = block < K ? tiles + (row - row0) * stride : tiles;
        const T* left = (numbers ? a : a + row * row_stride) + k0 * k_stride;
        for (long at = backwards ? last_piece : 0; 0 <= at && at <= last_piece; at += backwards ? -piece : piece) {
          const long stop = u0 + at + piece < end ? u0 + at + piece : end;
          for (long u = u0 + at; u < stop;) {
            const int inside = int(units - u < shared ? units - u : shared);
            const int count = stop - u > inside ? int((stop - u) / inside) : 1, NV = inside * G;
            const bool after = lone && backwards;
            if (k0 == 0 && !after) before(row, rows, u, inside, count);
            if (K > 0) {
              const long panel_stride = K * NV * width<T>, next = backwards ? -panel_stride : panel_stride;
              const T *whole = panels + u * G * K * width<T>, *panel = whole + k0 * NV * width<T>;
              const T* ahead = t < NV ? whole + next + (t * K + k0) * LINE / long(sizeof(T)) : panel;
              const Multiply<T> kernel =
                  in_blocks && k0 > 0 ? kernel_for<T, in_blocks>(NV, count, rows) : kernel_for<T, false>(NV, count, rows);
              kernel(left, numbers ? numbers + row : nullptr, row_stride, k_stride, panel, panel_stride, k1 - k0, ahead,
                     tile + (u - u0) * G);
            }
            if (after) before(row, rows, u, inside, count);
            u += long(count) * inside;
          }
        }
        if (k1 == K) body(tile, stride, row, rows, u0, end - u0);
        row += rows;
      }
      k0 = k1;
    } while (k0 < K);
  }
}

}  // namespace
