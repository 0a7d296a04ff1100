// Gradients' float products on AMX, the matrix units of some x86 CPUs, which are faster at them than fused multiply-adds.
// Compiled where the compiler knows AMX; the rest of the table is AVX-512's.
//
// AMX multiplies bfloat16 numbers, of 8 bits, and adds in float32. A float, of 24 bits, is the sum of three: x = x1 + x2 +
// x3, each the rounding of what those before leave. Of the nine products of parts the six that count are added up; x2 y3,
// x3 y2 and x3 y3 are below 2^-23 of x y together, about what float32 rounds away itself. (Henry, Tang & Heinecke,
// Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations, 2019.)
//
// An element of a result is a sum in an order that depends on K alone, so that neither the batch nor threads change its
// bits; they are not those of the other tables. Parts and their products below 2^-126 count as zero; infinite factors make
// NaN.
//
// This needs intrinsics, since no vector extension speaks of tiles. Measured on a core where fused multiply-adds do 140 to 150
// GFLOP/s in weights' gradients and 170 to 190 in inputs': 210 to 250 and 240 to 280, splitting included.
#include <immintrin.h>

#include "rows.hpp"
#include "simd.hpp"
#include "vec.hpp"

namespace {

using fastrnn::Outer;
using fastrnn::Product;

constexpr int LANES = 16;                // rows of a tile, and words of its rows
constexpr int STEP = 2 * LANES;          // k of a tile: a word holds k and k + 16
constexpr int STRIP = 2 * LANES;         // rows or columns of a result that are made together: two tiles
constexpr int PARTS = 3;
constexpr long TILE = LANES * LANES;     // words
constexpr long WORDS = PARTS * 2 * TILE;  // of a step of a strip: [part][tile][row][word]
constexpr long BLOCK = STRIP * STRIP;    // of a result
constexpr int PANEL = 4;                 // strips of an input's gradient that wait in L2 for those of the matrix
constexpr long MOST_K = 512;             // k of them
constexpr long LEFT_STRIPS = 32;         // of a weight gradient that are packed at a time, 3 MB
constexpr long FEW_STRIPS = 8;           // of them that stay in L2 while b passes by, a strip at a time
constexpr int RIGHT_STRIPS = 8;          // of b that are packed at a time where the left ones are more and come again
constexpr long SCRATCH = (LEFT_STRIPS + RIGHT_STRIPS) * MOST_K / STEP * WORDS + BLOCK;

FASTRNN_INLINE long larger(long a, long b) { return a > b ? a : b; }

constexpr long steps_of(long K) { return (K + STEP - 1) / STEP; }

// A matrix to be split, K by O or O by K: its rows, `ld` apart, are k where `by_k`, else the result's rows or columns. Row r is
// row numbers[r], where that is not null. Where rows are not k, from k = gap_at on they go on `gap` further.
struct Side {
  const float* at;
  long ld;
  bool by_k;
  long K, O;
  const int64_t* numbers;
  long gap_at = 0, gap = 0;

  const float* row(long r) const { return at + (numbers ? numbers[r] : r) * ld; }
};

typedef uint32_t Words __attribute__((vector_size(FASTRNN_VECTOR_BYTES)));

// The parts of x and of y side by side in words. The last part is what is left, so that there is nothing to round, and a NaN
// that rounding would carry over into the sign stays one.
FASTRNN_INLINE void split(Vec<float> x, Vec<float> y, float* out) {
  constexpr uint32_t half = 0x8000, upper = 0xffff0000;
  for (int part = 0; part + 1 < PARTS; ++part, out += 2 * TILE) {
    const Words low = ((Words)x + half) & upper, high = ((Words)y + half) & upper;
    x -= (Vec<float>)low;
    y -= (Vec<float>)high;
    store<float>(out, (Vec<float>)(low >> 16 | high));
  }
  store<float>(out, (Vec<float>)((Words)x >> 16 | ((Words)y & upper)));
}

// The parts of a tile: k from `k` on, rows or columns of the result from `o` on. Rows of the tile are those of the result
// where `o_rows`, else words of k.
void split_tile(const Side& side, long k, long o, bool o_rows, float* out) {
  const bool by_k = side.by_k;
  const bool turned = by_k == o_rows, whole = k + STEP <= side.K && o + LANES <= side.O;
  const long rows = by_k ? side.K - k : side.O - o, columns = by_k ? side.O - o : side.K - k;
  const long at_k = k < side.gap_at ? k : k + side.gap;
  auto piece = [&](long row, long column) {
    const float* at = (by_k ? side.row(k + row) + o : side.row(o + row) + at_k) + column;
    if (whole) return load<float>(at);
    return row < rows && column < columns ? load<float>(at, int(smaller(LANES, columns - column))) : Vec<float>{};
  };
  auto partner = [&](long row) { return by_k ? piece(LANES + row, 0) : piece(row, LANES); };
  if (!turned) {
    for (int r = 0; r < LANES; ++r) split(piece(r, 0), partner(r), out + r * LANES);
    return;
  }
  Vec<float> x[LANES], y[LANES];
  for (int r = 0; r < LANES; ++r) x[r] = piece(r, 0);
  transpose<float>(x);
  for (int r = 0; r < LANES; ++r) y[r] = partner(r);
  transpose<float>(y);
  for (int r = 0; r < LANES; ++r) split(x[r], y[r], out + r * LANES);
}

// The strips of rows or columns of a result first..last, k from k0 on for K of them: in the order of the matrix's memory.
void split_strips(const Side& side, long k0, long K, long first, long last, bool o_rows, float* out) {
  const long strip = steps_of(K) * WORDS, steps = steps_of(K), strips = (last - first + STRIP - 1) / STRIP;
  const auto step = [&](long s, long k) {
    const long o = first + s * STRIP;
    for (int t = 0; t < 2 && o + t * LANES < side.O; ++t)
      split_tile(side, k0 + k * STEP, o + t * LANES, o_rows, out + s * strip + k * WORDS + t * TILE);
  };
  if (side.by_k) {
    for (long k = 0; k < steps; ++k)
      for (long s = 0; s < strips; ++s) step(s, k);
  } else {
    for (long s = 0; s < strips; ++s)
      for (long k = 0; k < steps; ++k) step(s, k);
  }
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

// sums (STRIP, STRIP) = left right, for R tiles of rows and C of columns. Products of parts are added up in one order, x1 y3,
// x1 y2, x2 y2, x2 y1, x3 y1, x1 y1, where x is to the left or, `exchanged`, to the right.
//
// A tile's store takes 250 ns more where the last one was more than some 600 ns ago (Sapphire Rapids), so each step makes one
// that nobody reads: blocks of 13 steps take 1465 ns for 1718.
template <int R, int C, bool exchanged>
__attribute__((noinline)) void multiply(const float* left, const float* right, long steps, float* sums) {
  constexpr long part = 2 * TILE, ld = STRIP * 4, down = LANES * STRIP;
  const auto load_x = [&](int k) { exchanged ? load_right<C>(right + k * part) : load_left<R>(left + k * part); };
  const auto load_y = [&](int k) { exchanged ? load_left<R>(left + k * part) : load_right<C>(right + k * part); };
  asm volatile("" ::: "memory");  // the tiles' loads do not say that they read memory
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long k = 0; k < steps; ++k, left += WORDS, right += WORDS) {
    load_x(0);
    load_y(2);
    multiply_parts<R, C>();
    load_y(1);
    multiply_parts<R, C>();
    load_x(1);
    multiply_parts<R, C>();
    load_y(0);
    multiply_parts<R, C>();
    load_x(2);
    multiply_parts<R, C>();
    load_x(0);
    multiply_parts<R, C>();
    _tile_stored(4, sums, ld);
  }
  _tile_stored(0, sums, ld);
  if constexpr (C == 2) _tile_stored(1, sums + LANES, ld);
  if constexpr (R == 2) _tile_stored(2, sums + down, ld);
  if constexpr (R == 2 && C == 2) _tile_stored(3, sums + down + LANES, ld);
}

template <bool exchanged>
void multiply(long rows, long columns, const float* left, const float* right, long steps, float* sums) {
  if (rows > LANES)
    columns > LANES ? multiply<2, 2, exchanged>(left, right, steps, sums) : multiply<2, 1, exchanged>(left, right, steps, sums);
  else
    columns > LANES ? multiply<1, 2, exchanged>(left, right, steps, sums) : multiply<1, 1, exchanged>(left, right, steps, sums);
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
    asm volatile("" ::"r"(&shape) : "memory");  // the next line does not say that it reads all of it
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

// out += sums, for a whole block. Some rows are loaded before one is stored: a load waits for a recent store whose address
// has its last 12 bits, as those of rows 2 or 4 KB apart do.
void add_block(const float* sums, float* out, long ld) {
  constexpr int some = 8;
  for (long r = 0; r < STRIP; r += some, out += some * ld, sums += some * STRIP) {
    Vec<float> x[some], y[some];
#pragma GCC unroll 8
    for (int k = 0; k < some; ++k) {
      x[k] = load<float>(out + k * ld) + load<float>(sums + k * STRIP);
      y[k] = load<float>(out + k * ld + LANES) + load<float>(sums + k * STRIP + LANES);
    }
#pragma GCC unroll 8
    for (int k = 0; k < some; ++k) {
      store<float>(out + k * ld, x[k]);
      store<float>(out + k * ld + LANES, y[k]);
    }
  }
}

// out = sums, or out += sums.
void put(const float* sums, long rows, long columns, bool add, float* out, long ld, const int64_t* numbers) {
  if (add && !numbers && rows == STRIP && columns == STRIP) return add_block(sums, out, ld);
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

// Those of small products: splitting takes longer than it saves. The rows of a batch must not decide about the bits of an
// input's gradient, nor the left sides that share b about those of a weight's.
fastrnn::Kernels<float> fused;

constexpr bool small_back(long K, long columns) { return K * columns < 32 * 1024; }
constexpr bool small_outer(long R, long columns) { return R * columns < 24 * 1024; }

long back_size(long K, long columns) {
  return small_back(K, columns) ? fused.back_size(K, columns) : (columns + STRIP - 1) / STRIP * steps_of(K) * WORDS;
}

void pack_back(float* dst, const float* src, long K, long columns, long k_stride, long column_stride, long first, long last) {
  if (small_back(K, columns)) return fused.pack_back(dst, src, K, columns, k_stride, column_stride, first, last);
  const bool by_k = column_stride == 1;
  const Side side{src, by_k ? k_stride : column_stride, by_k, K, columns, nullptr};
  split_strips(side, 0, K, first, last, false, dst + first / STRIP * steps_of(K) * WORDS);
}

long gap_unit(long K, long columns) { return small_back(K, columns) ? fused.gap_unit(K, columns) : STEP; }

void product_back(const Product<float>* p, long row0, long row1, long column0, long column1, float* scratch) {
  if (small_back(p->K, p->columns)) return fused.product_back(p, row0, row1, column0, column1, scratch);
  const Tiles tiles;
  float *sums = scratch, *left = sums + BLOCK;
  const long panel = steps_of(p->K) * WORDS;
  for (long k0 = 0; k0 < p->K; k0 += MOST_K) {
    const long K = smaller(MOST_K, p->K - k0), strip = steps_of(K) * WORDS;
    for (long r0 = row0; r0 < row1; r0 += PANEL * STRIP) {
      const long rows = smaller(PANEL * STRIP, row1 - r0);
      const Side side{p->a, p->row_stride, false, p->K, r0 + rows, p->a_rows, p->gap_at, p->gap};
      split_strips(side, k0, K, r0, r0 + rows, true, left);
      for (long c = column0; c < column1; c += STRIP) {
        const long columns = smaller(STRIP, column1 - c);
        const float* right = p->panels + c / STRIP * panel + k0 / STEP * WORDS;
        for (long r = 0; r < rows; r += STRIP) {
          const long some = smaller(STRIP, rows - r);
          multiply<false>(some, columns, left + r / STRIP * strip, right, steps_of(K), sums);
          float* out = p->out + c + (p->out_rows ? 0 : (r0 + r) * p->ld);
          put(sums, some, columns, p->add || k0 > 0, out, p->ld, p->out_rows ? p->out_rows + r0 + r : nullptr);
        }
      }
    }
  }
}

long outer_scratch(long M0, long M1, long columns) {
  const long other = fused.outer_scratch(M0, M1, columns);
  return other > SCRATCH ? other : SCRATCH;
}

// sums += column sums of b from column c on, of rows k0..k0+K, one after the other.
template <bool whole>
FASTRNN_INLINE void add_columns(const Outer<float>* o, long k0, long K, long c, long columns, float* sums) {
  constexpr int most = 4;
  Vec<float> sum[most];
  const auto lanes = [&](int v) { return whole ? LANES : int(columns < v * LANES ? 0 : smaller(LANES, columns - v * LANES)); };
  for (int v = 0; v < most; ++v) sum[v] = load<float>(sums + v * LANES, lanes(v));
  for (long k = k0; k < k0 + K; ++k) {
    const float* row = o->b + (o->b_rows ? o->b_rows[k] : k) * o->ldb + c;
    for (int v = 0; v < most; ++v) sum[v] += load<float>(row + v * LANES, lanes(v));
  }
  for (int v = 0; v < most; ++v) store<float>(sums + v * LANES, sum[v], lanes(v));
}

void add_columns(const Outer<float>* o, long k0, long K, long c0, long c1) {
  constexpr long some = 4 * LANES;
  for (long c = c0; c < c1; c += some)
    c1 - c < some ? add_columns<false>(o, k0, K, c, c1 - c, o->sums + c) : add_columns<true>(o, k0, K, c, some, o->sums + c);
}

// The left sides of some weight gradients, each once, in strips.
struct Lefts {
  struct Left {
    const float* a;
    const int64_t* rows;
    long M, first, last;  // strips first..last
  };
  Left left[2 * fastrnn::MAX_OUTERS];
  int n = 0;
  long strips = 0;

  void add(const float* a, const int64_t* rows, long M) {
    if (M == 0 || find(a)) return;
    left[n++] = {a, rows, M, strips, strips + (M + STRIP - 1) / STRIP};
    strips = left[n - 1].last;
  }
  const Left* find(const float* a) const {
    for (int k = 0; k < n; ++k)
      if (left[k].a == a) return left + k;
    return nullptr;
  }
  // Strips first..last of rows k0..k0+K.
  void split(long k0, long K, long first, long last, float* out) const {
    for (int k = 0; k < n; ++k) {
      const Left& l = left[k];
      const long s0 = larger(first, l.first), s1 = smaller(last, l.last);
      const Side side{l.a, l.M, true, k0 + K, smaller(l.M, (s1 - l.first) * STRIP), l.rows};
      split_strips(side, k0, K, (s0 - l.first) * STRIP, side.O, true, out + (s0 - first) * steps_of(K) * WORDS);
    }
  }
};

// The product of a strip of columns of a left side with one of b, put into the result or added to it.
void outer_block(const Outer<float>* o, int side, long m, long c, long columns, const float* left, const float* right,
                 long steps, bool add, float* sums) {
  const long rows = smaller(STRIP, o->M[side] - m);
  const bool turned = o->transposed;
  const long ld = turned ? o->M[side] : o->ld;
  float* out = o->out[side] + (turned ? c * ld + m : m * ld + c);
  const long out_rows = turned ? columns : rows, out_columns = turned ? rows : columns;
  (o->exchanged ? multiply<true> : multiply<false>)(rows, columns, left, right, steps, sums);
  if (turned) turn(sums);
  put(sums, out_rows, out_columns, add, out, ld, nullptr);
}

// Columns c0..c1 of a weight gradient, from strips first..last of all left sides, which are at `left`.
void outer_columns(const Outer<float>* o, const Lefts& lefts, long k0, long K, long first, long last, long c0, long c1,
                   const float* left, float* right, float* sums) {
  const long steps = steps_of(K);
  const Side b{o->b, o->ldb, true, k0 + K, c1, o->b_rows};
  const long panel = (last - first <= FEW_STRIPS ? 1 : RIGHT_STRIPS) * STRIP;
  for (long c = c0; c < c1; c += panel) {
    const long columns = smaller(panel, c1 - c);
    split_strips(b, k0, K, c, c + columns, false, right);
    for (int side = 0; side < 2; ++side) {
      if (o->M[side] == 0) continue;
      const Lefts::Left* l = lefts.find(o->a[side]);
      for (long s = larger(first, l->first); s < smaller(last, l->last); ++s)
        for (long k = 0; k < columns; k += STRIP)
          outer_block(o, side, (s - l->first) * STRIP, c + k, smaller(STRIP, columns - k),
                      left + (s - first) * steps * WORDS, right + k / STRIP * steps * WORDS, steps, o->add || k0 > 0,
                      sums);
    }
  }
}

void outer(const Outer<float>* outers, int n, int thread, int threads, float* scratch) {
  const Outer<float>* large[fastrnn::MAX_OUTERS];
  Lefts lefts;
  int n_large = 0;
  long all_columns = 0;
  for (const Outer<float>* o = outers; o < outers + n; ++o) {
    if (small_outer(o->R, o->exchanged ? o->M[0] : o->columns)) {
      fused.outer(o, 1, thread, threads, scratch);
      continue;
    }
    large[n_large++] = o;
    all_columns += o->columns;
    for (int side = 0; side < 2; ++side) lefts.add(o->a[side], o->a_rows[side], o->M[side]);
  }
  if (n_large == 0) return;
  const Tiles tiles;
  float *sums = scratch, *right = sums + BLOCK, *left = right + RIGHT_STRIPS * MOST_K / STEP * WORDS;
  // threads share the longer side, since each splits the other one whole
  const bool by_strips = all_columns <= lefts.strips * STRIP;
  const long s0 = by_strips ? lefts.strips * thread / threads : 0;
  const long s1 = by_strips ? lefts.strips * (thread + 1) / threads : lefts.strips;
  const auto share = [&](const Outer<float>* o, int of) { return share_of<float>(o->columns, of, threads); };
  for (long k0 = 0; k0 < outers->R; k0 += MOST_K) {
    const long K = smaller(MOST_K, outers->R - k0);
    for (int k = 0; k < n_large; ++k) {
      if (large[k]->sums) add_columns(large[k], k0, K, share(large[k], thread), share(large[k], thread + 1));
    }
    for (long first = s0; first < s1; first += LEFT_STRIPS) {
      const long last = smaller(first + LEFT_STRIPS, s1);
      lefts.split(k0, K, first, last, left);
      for (int k = 0; k < n_large; ++k) {
        const Outer<float>* o = large[k];
        const long c0 = by_strips ? 0 : share(o, thread), c1 = by_strips ? o->columns : share(o, thread + 1);
        outer_columns(o, lefts, k0, K, first, last, c0, c1, left, right, sums);
      }
    }
  }
}

}  // namespace

namespace fastrnn {

Isa with_amx(Isa table) {
  fused = table.f32;
  table.name = "amx";
  table.f32.back_size = back_size;
  table.f32.pack_back = pack_back;
  table.f32.product_back = product_back;
  table.f32.gap_unit = gap_unit;
  table.f32.outer = outer;
  table.f32.outer_scratch = outer_scratch;
  return table;
}

}  // namespace fastrnn
