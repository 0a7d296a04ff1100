// Gradients' float products on AMX, the matrix units of some x86 CPUs, where these are several times as fast as fused
// multiply-adds. Compiled where the compiler knows AMX; the rest of the table is AVX-512's.
//
// AMX multiplies bfloat16 numbers, of 8 bits, and adds in float32. A float, of 24 bits, is the sum of three: x = x1 + x2 +
// x3, each the rounding of what those before leave. Of the nine products of parts the six that count are added up; x2 y3,
// x3 y2 and x3 y3 are below 2^-23 of x y together, about what float32 rounds away itself. (Henry, Tang & Heinecke,
// Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations, 2019.)
//
// An element of a result is a sum in an order that depends on K alone, so that neither the batch nor threads change its
// bits; they are not those of the other tables. Parts below 2^-126 count as zero; infinite factors make NaN.
//
// This needs intrinsics, since no vector extension speaks of tiles. Measured: 330 to 400 GFLOP/s on a core where fused
// multiply-adds do 170 to 190 in the same products.
#include <immintrin.h>

#include "rows.hpp"
#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Outer;
using fastrnn::Product;

constexpr int LANES = 16;                     // rows of a tile, and words of its rows
constexpr int STEP = 2 * LANES;               // k of a tile: a word holds k and k + 16
constexpr int STRIP = 2 * LANES;              // rows or columns of a result that are made together: two tiles
constexpr int PARTS = 3;
constexpr long TILE = LANES * LANES;          // words
constexpr long WORDS = PARTS * 2 * TILE;      // of a step of a strip: [part][tile][row][word]
constexpr long BACK_STRIPS = 3, BACK_K = 512;     // of a left side that waits in scratch, in half an L2
constexpr long OUTER_STRIPS = 16, OUTER_K = 256;
constexpr long SCRATCH = (OUTER_STRIPS + 1) * OUTER_K / STEP * WORDS + STRIP * STRIP;
static_assert(BACK_STRIPS * BACK_K / STEP * WORDS + STRIP * STRIP <= SCRATCH, "one scratch serves both products");

FASTRNN_INLINE long smaller(long a, long b) { return a < b ? a : b; }

constexpr long steps_of(long K) { return (K + STEP - 1) / STEP; }

// A matrix to be split: element (k, o) at [k * k_stride + o * o_stride], of which one stride is 1; `numbers` are those of the
// rows, which have the other one.
struct Side {
  const float* at;
  long k_stride, o_stride, K, O;
  const int64_t* numbers;

  const float* row(long r) const { return at + number_of(r) * (k_stride == 1 ? o_stride : k_stride); }
  long number_of(long r) const { return numbers ? numbers[r] : r; }
};

typedef uint32_t Words __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));

// One part of x and of y, side by side in words; x and y keep what is left. The last part is what is left, so that there is
// nothing to round, and a NaN that rounding would carry over into the sign stays one.
template <bool last> FASTRNN_INLINE Vec<float> split(Vec<float>& x, Vec<float>& y) {
  constexpr uint32_t half = last ? 0 : 0x8000, upper = 0xffff0000;
  const Words low = ((Words)x + half) & upper, high = ((Words)y + half) & upper;
  x -= (Vec<float>)low;
  y -= (Vec<float>)high;
  return (Vec<float>)(low >> 16 | high);
}

// The parts of a tile: k from `k` on, rows or columns of the result from `o` on. Rows of the tile are those of the result
// where `o_rows`, else words of k.
void split_tile(const Side& side, long k, long o, bool o_rows, float* out) {
  const bool by_k = side.k_stride != 1;  // rows in memory are k
  const long columns = by_k ? side.O - o : side.K - k, rows = by_k ? side.K - k : side.O - o;
  auto piece = [&](long row, long column) {
    const long n = smaller(LANES, columns - column);
    if (row >= rows || n <= 0) return Vec<float>{};
    return load<float>(by_k ? side.row(k + row) + o : side.row(o + row) + k + column, int(n));
  };
  Vec<float> x[LANES], y[LANES];
  for (int r = 0; r < LANES; ++r) {
    x[r] = piece(r, 0);
    y[r] = by_k ? piece(LANES + r, 0) : piece(r, LANES);
  }
  for (int part = 0; part < PARTS; ++part, out += 2 * TILE) {
    Vec<float> words[LANES];
    for (int r = 0; r < LANES; ++r)
      words[r] = part + 1 < PARTS ? split<false>(x[r], y[r]) : split<true>(x[r], y[r]);
    if (by_k == o_rows) transpose<float>(words);
    for (int r = 0; r < LANES; ++r) store<float>(out + r * LANES, words[r]);
  }
}

// The strip of rows or columns of a result from `o` on, k from k0 on for K of them.
void split_strip(const Side& side, long k0, long K, long o, bool o_rows, float* out) {
  for (long k = k0; k < k0 + K; k += STEP, out += WORDS)
    for (int t = 0; t < 2 && o + t * LANES < side.O; ++t) split_tile(side, k, o + t * LANES, o_rows, out + t * TILE);
}

// Tiles 0 to 3 hold the sums, 4 and 5 a part of the left side, 6 and 7 one of the right.
template <int R, int C> FASTRNN_INLINE void multiply_parts() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (C == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (R == 2) _tile_dpbf16ps(2, 5, 6);
  if constexpr (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
}
template <int R> FASTRNN_INLINE void load_left(const float* words) {
  _tile_loadd(4, words, LANES * 4);
  if constexpr (R == 2) _tile_loadd(5, words + TILE, LANES * 4);
}
template <int C> FASTRNN_INLINE void load_right(const float* words) {
  _tile_loadd(6, words, LANES * 4);
  if constexpr (C == 2) _tile_loadd(7, words + TILE, LANES * 4);
}

// sums (STRIP, STRIP) = left right, for R tiles of rows and C of columns.
template <int R, int C> __attribute__((noinline)) void multiply(const float* left, const float* right, long steps, float* sums) {
  constexpr long part = 2 * TILE;
  asm volatile("" ::: "memory");  // the tiles' loads do not say that they read memory
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long k = 0; k < steps; ++k, left += WORDS, right += WORDS) {
    load_left<R>(left);
    load_right<C>(right + 2 * part);
    multiply_parts<R, C>();
    load_right<C>(right + part);
    multiply_parts<R, C>();
    load_left<R>(left + part);
    multiply_parts<R, C>();
    load_right<C>(right);
    multiply_parts<R, C>();
    load_left<R>(left + 2 * part);
    multiply_parts<R, C>();
    load_left<R>(left);
    multiply_parts<R, C>();
  }
  _tile_stored(0, sums, STRIP * 4);
  _tile_stored(1, sums + LANES, STRIP * 4);
  _tile_stored(2, sums + LANES * STRIP, STRIP * 4);
  _tile_stored(3, sums + LANES * STRIP + LANES, STRIP * 4);
}

void multiply(long rows, long columns, const float* left, const float* right, long steps, float* sums) {
  const bool two_rows = rows > LANES, two_columns = columns > LANES;
  (two_rows ? two_columns ? multiply<2, 2> : multiply<2, 1> : two_columns ? multiply<1, 2> : multiply<1, 1>)(left, right, steps,
                                                                                                      sums);
}

// While one stands, this thread's tiles have 16 rows of 64 bytes.
struct Tiles {
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int k = 0; k < 8; ++k) shape.bytes[k] = 64, shape.rows[k] = LANES;
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

// out = sums, or out += sums.
void put(const float* sums, long rows, long columns, bool add, float* out, long ld, const int64_t* numbers) {
  for (long r = 0; r < rows; ++r) {
    float* row = out + (numbers ? numbers[r] : r) * ld;
    for (long c = 0; c < columns; c += LANES) {
      const int n = int(smaller(LANES, columns - c));
      const Vec<float> sum = load<float>(sums + r * STRIP + c);
      store<float>(row + c, add ? load<float>(row + c, n) + sum : sum, n);
    }
  }
}

// sums = their transpose.
void turn(float* sums) {
  Vec<float> tile[4][LANES];
  for (int t = 0; t < 4; ++t) {
    for (int r = 0; r < LANES; ++r) tile[t][r] = load<float>(sums + (t / 2 * LANES + r) * STRIP + t % 2 * LANES);
    transpose<float>(tile[t]);
  }
  for (int t = 0; t < 4; ++t)
    for (int r = 0; r < LANES; ++r) store<float>(sums + (t % 2 * LANES + r) * STRIP + t / 2 * LANES, tile[t][r]);
}

// ---------------------------------------------------------------------------------------------------------------------
// The table's functions

long back_size(long K, long columns) { return (columns + STRIP - 1) / STRIP * steps_of(K) * WORDS; }

void pack_back(float* dst, const float* src, long K, long columns, long k_stride, long column_stride, long first, long last) {
  const Side side{src, k_stride, column_stride, K, columns, nullptr};
  const long strip = steps_of(K) * WORDS;
  for (long o = first; o < last; o += STRIP) split_strip(side, 0, K, o, false, dst + o / STRIP * strip);
}

void product_back(const Product<float>* p, long row0, long row1, long column0, long column1, float* scratch) {
  const Tiles tiles;
  float *left = scratch, *sums = scratch + SCRATCH - STRIP * STRIP;
  const long panel = steps_of(p->K) * WORDS;
  for (long r0 = row0; r0 < row1; r0 += BACK_STRIPS * STRIP) {
    const long r1 = smaller(r0 + BACK_STRIPS * STRIP, row1);
    const Side side{p->a, 1, p->row_stride, p->K, r1, p->a_rows};
    for (long k0 = 0; k0 < p->K; k0 += BACK_K) {
      const long K = smaller(BACK_K, p->K - k0), strip = steps_of(K) * WORDS;
      for (long r = r0; r < r1; r += STRIP) split_strip(side, k0, K, r, true, left + (r - r0) / STRIP * strip);
      for (long c = column0; c < column1; c += STRIP) {
        const long columns = smaller(STRIP, column1 - c);
        const float* right = p->panels + c / STRIP * panel + k0 / STEP * WORDS;
        for (long r = r0; r < r1; r += STRIP) {
          const long rows = smaller(STRIP, r1 - r);
          multiply(rows, columns, left + (r - r0) / STRIP * strip, right, steps_of(K), sums);
          float* out = p->out + c + (p->out_rows ? 0 : r * p->ld);
          put(sums, rows, columns, p->add || k0 > 0, out, p->ld, p->out_rows ? p->out_rows + r : nullptr);
        }
      }
    }
  }
}

long outer_scratch(long, long, long) { return SCRATCH; }

void outer(const Outer<float>* o, long column0, long column1, float* scratch) {
  if (o->sums) {
    const fastrnn::ColumnSums<float> sums{o->R, o->b, o->ldb, nullptr, 0, o->sums};
    column_sums(&sums, column0, column1);
  }
  const long strips[2] = {(o->M[0] + STRIP - 1) / STRIP, (o->M[1] + STRIP - 1) / STRIP}, n_strips = strips[0] + strips[1];
  const Tiles tiles;
  float *left = scratch, *right = left + OUTER_STRIPS * OUTER_K / STEP * WORDS, *sums = right + OUTER_K / STEP * WORDS;
  for (long k0 = 0; k0 < o->R; k0 += OUTER_K) {
    const long K = smaller(OUTER_K, o->R - k0), strip = steps_of(K) * WORDS;
    const Side b{o->b, o->ldb, 1, k0 + K, column1, nullptr};
    for (long first = 0; first < n_strips; first += OUTER_STRIPS) {
      const long last = smaller(first + OUTER_STRIPS, n_strips);
      for (long s = first; s < last; ++s) {
        const int i = s >= strips[0];
        const Side a{o->a[i], o->M[i], 1, k0 + K, o->M[i], o->a_rows[i]};
        split_strip(a, k0, K, (s - i * strips[0]) * STRIP, true, left + (s - first) * strip);
      }
      for (long c = column0; c < column1; c += STRIP) {
        const long columns = smaller(STRIP, column1 - c);
        split_strip(b, k0, K, c, false, right);
        for (long s = first; s < last; ++s) {
          const int i = s >= strips[0];
          const long m = (s - i * strips[0]) * STRIP, rows = smaller(STRIP, o->M[i] - m);
          multiply(rows, columns, left + (s - first) * strip, right, steps_of(K), sums);
          if (o->transposed) turn(sums);
          if (o->transposed)
            put(sums, columns, rows, true, o->out[i] + c * o->M[i] + m, o->M[i], nullptr);
          else
            put(sums, rows, columns, true, o->out[i] + m * o->ld + c, o->ld, nullptr);
        }
      }
    }
  }
}

}  // namespace

namespace fastrnn {

Isa with_amx(Isa table) {
  table.name = "amx";
  table.f32.back_size = back_size;
  table.f32.pack_back = pack_back;
  table.f32.product_back = product_back;
  table.f32.outer = outer;
  table.f32.outer_scratch = outer_scratch;
  return table;
}

}  // namespace fastrnn
