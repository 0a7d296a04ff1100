// The packed product: a tile of MR rows x NV vectors stays in registers while k runs over a panel.
//
// Every element is one chain of fused multiply-adds over k, started from zero. Neither the tile that holds it nor
// its place in the batch changes the chain, so they do not change the bits either.
#pragma once

#include "simd.hpp"
#include "vec.hpp"

namespace {

// Rows of the largest tile for NV vectors: accumulators + NV vectors of the panel + one broadcast fill the registers.
constexpr int tile_rows(int NV) {
  return FASTRNN_REGISTERS == 32 ? (NV == 4 ? 6 : 8) : (NV == 4 ? 3 : NV == 3 ? 4 : NV == 2 ? 6 : 8);
}
constexpr int MAX_ROWS = 8;
constexpr int MAX_VECTORS = 4;
// Of a strip of columns that several rows are multiplied by. With 16 registers four rows of three vectors make as many sums as
// three of four, and batches come by fours.
constexpr int STRIP_VECTORS = FASTRNN_REGISTERS == 16 ? 3 : 4;

constexpr long LINE = 64;  // bytes of a cache line

// Sums of a tile up to which k goes on by eights, and nothing is fetched: to turn back after every k takes two or three rows
// 5 to 13 % more time (every cell; H128, H256; one thread). Larger tiles do not gain, or have no registers for it.
constexpr int SHORT_TILE = FASTRNN_REGISTERS == 32 ? 12 : 8;

// The r-th of the rows with these numbers; where they are null, rows stand in order.
FASTRNN_INLINE long number_of(const int64_t* numbers, long r) { return numbers ? numbers[r] : r; }

// `ahead` is what is fetched into L2 meanwhile, a cache line per k, `ahead_step` from one to the next: see multiply_panel().
// A short tile leaves it.
//
// out[row*ld + v*width] = sum over k of a[row*row_stride + k*k_stride] * panel[k][v], or with `more` goes on with the sum that
// is there; then + bias, where that is not null, and with `add` + what is there. With `numbers` or `out_numbers`, numbers[row]
// stands for row. (A struct of the last arguments would be copied in larger pieces than it was written in, and such a load
// waits for all stores before it.)
template <class T, int MR, int NV, bool more>
void multiply(const T* __restrict a, const int64_t* numbers, long row_stride, long k_stride, const T* __restrict panel,
              long K, const T* ahead, long ahead_step, T* out, const int64_t* out_numbers, long ld, const T* bias,
              bool add) {
  const auto at_row = [&](int r) { return out + number_of(out_numbers, r) * ld; };
  Vec<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = more ? load<T>(at_row(r) + v * width<T>) : Vec<T>{};
  const T* row[MR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) row[r] = a + number_of(numbers, r) * row_stride;
  const auto add_k = [&](const T* b_k, long at) __attribute__((always_inline)) {
    Vec<T> b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = load<T>(b_k + v * width<T>);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const Vec<T> x = all<T>(row[r][at]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] += x * b[v];
    }
  };
  long at = 0;
  if constexpr (MR * NV <= SHORT_TILE) {
#pragma GCC unroll 8
    for (long k = 0; k < K; ++k, at += k_stride, panel += NV * width<T>) add_k(panel, at);
  } else {
    for (long k = 0; k < K; ++k, at += k_stride, panel += NV * width<T>) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_step;
      add_k(panel, at);
    }
  }
  if (bias)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const Vec<T> b = load<T>(bias + v * width<T>);
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) acc[r][v] += b;
    }
  T* to[MR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) to[r] = at_row(r);
  if (add)
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] += load<T>(to[r] + v * width<T>);
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store<T>(to[r] + v * width<T>, acc[r][v]);
}

template <class T>
using Multiply = void (*)(const T*, const int64_t*, long, long, const T*, long, const T*, long, T*, const int64_t*, long,
                          const T*, bool);

// The kernel for a tile of two rows or more x NV vectors.
template <class T, int NV, bool more> Multiply<T> multiply_of(int rows) {
  constexpr int most = tile_rows(NV);
  static constexpr Multiply<T> kernels[MAX_ROWS - 1] = {
      multiply<T, 2, NV, more>,
      multiply<T, most < 3 ? most : 3, NV, more>,
      multiply<T, most < 4 ? most : 4, NV, more>,
      multiply<T, most < 5 ? most : 5, NV, more>,
      multiply<T, most < 6 ? most : 6, NV, more>,
      multiply<T, most < 7 ? most : 7, NV, more>,
      multiply<T, most, NV, more>,
  };
  return kernels[rows - 2];
}

template <class T, bool more> FASTRNN_INLINE Multiply<T> kernel_for(int NV, int rows) {
  switch (NV) {
    case 4: return multiply_of<T, 4, more>(rows);
    case 3: return multiply_of<T, 3, more>(rows);
    case 2: return multiply_of<T, 2, more>(rows);
    default: return multiply_of<T, 1, more>(rows);
  }
}

// The same of one row and NP panels: tile[panel*NV + v] = sum over k of a[k*k_stride] * panels[panel][k][v]
template <class T, int NV, int NP>
void multiply_lone(const T* __restrict a, long k_stride, const T* __restrict panel, long panel_stride, long K,
                   Vec<T>* __restrict tile) {
  Vec<T> acc[NP][NV];
#pragma GCC unroll 4
  for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[p][v] = Vec<T>{};
#pragma GCC unroll 4
  for (long k = 0; k < K; ++k, a += k_stride, panel += NV * width<T>) {
    const Vec<T> x = all<T>(*a);
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[p][v] += x * load<T>(panel + p * panel_stride + v * width<T>);
  }
#pragma GCC unroll 4
  for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) tile[p * NV + v] = acc[p][v];
}

template <class T> using MultiplyLone = void (*)(const T*, long, const T*, long, long, Vec<T>*);

template <class T> FASTRNN_INLINE MultiplyLone<T> lone_kernel_for(int NV, int panels) {
  switch (NV) {
    case 4: return multiply_lone<T, 4, 1>;
    case 3: return panels == 3 ? multiply_lone<T, 3, 3> : panels == 2 ? multiply_lone<T, 3, 2> : multiply_lone<T, 3, 1>;
    case 2: return multiply_lone<T, 2, 1>;
    default: return multiply_lone<T, 1, 1>;
  }
}

constexpr int unit_vectors(int G) { return G >= MAX_VECTORS ? 1 : MAX_VECTORS / G; }

template <class T> constexpr long vectors(long n) { return (n + width<T> - 1) / width<T>; }

// How the vectors of a packed matrix share panels. Gate g of unit vector u is vector u * G + g, but of a last unit vector that
// is not full: its units stand together, gate after gate, in as few vectors as hold them. Four gates of 50 units have 13
// vectors of 16 lanes then and not 16: forward takes 4 to 15 % less time, training 1 to 4 % (LSTM, GRU; H20 to H100; one
// thread). Those of a group of unit vectors are cut into panels [k][vector], one after another.
//
// Wide panels have up to four vectors, and a group has one. Narrow ones have three: their tiles of eight rows take less from
// L2 per multiply-add than those of six rows and four vectors. A group is three unit vectors then, or those left at the end,
// whose panels are wide. Products of many rows take 3 to 7 % less time (K 256 to 2048, AVX-512).
struct Layout {
  int G;
  bool narrow;
  long units;  // unit vectors
  int last;    // vectors of the last one
  int at_once = unit_vectors(G);  // unit vectors of a group of wide panels: those of one panel, or of several

  // Unit vectors of a group.
  constexpr int group() const { return !narrow ? at_once : G != 3 ? 3 : 1; }
  // Groups that n unit vectors make up: a last column by itself joins those before.
  constexpr long groups(long n) const {
    return narrow && G == 1 && n > 1 ? (n + 1) / 3 : (n + group() - 1) / group();
  }
  // The unit vector behind group `g` of those that begin with unit vector `first`, up to `last`.
  long end(long g, long first, long last) const { return g + 1 == groups(last - first) ? last : first + (g + 1) * group(); }
  // Vectors of unit vectors unit0..unit1.
  constexpr long vectors(long unit0, long unit1) const { return (unit1 - unit0) * G - (unit1 == units ? G - last : 0); }
  // Vectors of a panel in a group of so many vectors.
  constexpr int panel(long n) const { return narrow && n % 3 == 0 ? 3 : unit_vectors(G) * G; }
};

// The layout of a matrix with H units.
template <class T> constexpr Layout layout_of(int G, bool narrow, long H) {
  const long units = vectors<T>(H), n = H - (units - 1) * width<T>;
  return {G, narrow, units, int(vectors<T>(G * n))};
}

// Groups of unit vectors have at most so many vectors.
constexpr int most_vectors(int G) { return G == 3 ? 3 : 3 * G > MAX_VECTORS ? 3 * G : MAX_VECTORS; }

// What is ahead, fetched bit by bit by the k of a product's tiles.
template <class T> class Fetch {
 public:
  const long step;  // elements per k: a line, or less where k are many

  // So many k are to fetch it; null: there is nothing.
  Fetch(const fastrnn::Ahead<T>* ahead, long k) : step(ahead ? step_of(*ahead, k) : 0), ahead_(ahead) {}

  // What the next K of them fetch; null: it has all been.
  const T* take(long K) {
    while (now_ < fastrnn::Ahead<T>::MOST && done_ >= ahead_->size[now_]) ++now_, done_ = 0;
    if (now_ == fastrnn::Ahead<T>::MOST) return nullptr;
    const T* at = ahead_->at[now_] + done_;
    done_ += K * step;
    return at;
  }

 private:
  static long step_of(const fastrnn::Ahead<T>& ahead, long k) {
    long size = 0;
    for (const long n : ahead.size) size += n;
    return size == 0 || k == 0 ? 0 : smaller(LINE / long(sizeof(T)), (size + k - 1) / k);
  }

  const fastrnn::Ahead<T>* ahead_;
  int now_ = 0;
  long done_ = 0;
};

// A product's left side and packed right side.
template <class T> struct Operands {
  const T* a;              // element (row, k) at a[row * row_stride + k * k_stride]
  const int64_t* numbers;  // numbers[row] stands for row, where not null
  long row_stride, k_stride;
  const T* panels;
  long K;
  Layout layout;
  Fetch<T>* fetch = nullptr;  // null: the next panel

  FASTRNN_INLINE const T* left(long row, long k) const { return (numbers ? a : a + row * row_stride) + k * k_stride; }
  FASTRNN_INLINE const int64_t* numbers_from(long row) const { return numbers ? numbers + row : nullptr; }
};

// Where a product goes: row r, vector v to at + number_of(numbers, r) * ld + v * width. What is added to the product is what
// is there, or `bias`, or where that is null nothing.
template <class T> struct Result {
  T* at;
  const int64_t* numbers;
  long ld;
  const T* bias;
  bool add;
  long row0 = 0;  // which stands at `at`, where rows are in order

  FASTRNN_INLINE T* from(long row, long vector) const { return at + (numbers ? 0 : (row - row0) * ld) + vector * width<T>; }
  FASTRNN_INLINE const int64_t* numbers_from(long row) const { return numbers ? numbers + row : nullptr; }
  FASTRNN_INLINE const T* bias_from(long vector) const { return bias ? bias + vector * width<T> : nullptr; }
};

// A result in a tile whose first row is row0.
template <class T> FASTRNN_INLINE Result<T> in_tile(Vec<T>* tile, long row0, long vectors) {
  return {reinterpret_cast<T*>(tile), nullptr, vectors * width<T>, nullptr, false, row0};
}

// n things in pieces of about the same size, none larger than `most`.
struct Pieces {
  long n, count;

  Pieces(long n, long most) : n(n), count(n <= most ? n > 0 : (n + most - 1) / most) {}
  long first(long piece) const { return count == 1 ? piece * n : n * piece / count; }
};

// A group of unit vectors of a packed matrix, cut into panels.
struct Group {
  long unit0, unit1;
  int vectors, most;  // of all panels, of each: three, and then all have as many, or MAX_VECTORS

  Group(const Layout& layout, long unit0, long unit1)
      : unit0(unit0), unit1(unit1), vectors(int(layout.vectors(unit0, unit1))), most(layout.panel(vectors)) {}
  int panels() const { return (vectors + most - 1) / most; }
};

// The products of rows row0..row1 and panel p of a group, k from k0 to k1; vector 0 of `result` is the group's first. Each
// tile has before(row, rows) and after(row, rows) around it.
//
// The first tiles fetch the next panel, since matrices larger than L2 would else arrive at the pace of memory's latency; or
// all of them what is ahead of the operands' step.
template <class T, bool in_blocks, class Before, class After>
FASTRNN_INLINE void multiply_panel(const Operands<T>& o, const Group& group, int p, long row0, long row1, long k0, long k1,
                                   bool backwards, const Result<T>& result, Before before, After after) {
  const int v = p * group.most, NV = int(smaller(group.most, group.vectors - v));
  const Pieces tiles(row1 - row0, tile_rows(NV));
  const long size = o.K * NV * width<T>;
  const T *whole = o.panels + (group.unit0 * o.layout.G + v) * o.K * width<T>, *panel = whole + k0 * NV * width<T>;
  for (long t = 0, row = row0, next; t < tiles.count; ++t, row = next) {
    next = row0 + tiles.first(t + 1);
    const int rows = int(next - row);
    before(row, rows);
    if (o.K > 0) {
      const T* ahead = nullptr;
      long ahead_step = LINE / long(sizeof(T));
      if (o.fetch)
        ahead = o.fetch->take(k1 - k0), ahead_step = o.fetch->step;
      else if (t < NV)
        ahead = whole + (backwards ? -size : size) + (t * o.K + k0) * ahead_step;
      if (!ahead) ahead = panel, ahead_step = 0;
      const Multiply<T> kernel = in_blocks && k0 > 0 ? kernel_for<T, in_blocks>(NV, rows) : kernel_for<T, false>(NV, rows);
      kernel(o.left(row, k0), o.numbers_from(row), o.row_stride, o.k_stride, panel, k1 - k0, ahead, ahead_step,
             result.from(row, v), result.numbers_from(row), result.ld, result.bias_from(v), result.add);
    }
    after(row, rows);
  }
}

// The same of all panels; before(row, rows) is called once for all rows, when their product is next.
template <class T, bool in_blocks, class Before>
FASTRNN_INLINE void multiply_group(const Operands<T>& o, const Group& group, long row0, long row1, long k0, long k1,
                                   bool backwards, const Result<T>& result, Before before) {
  const int panels = group.panels();
  for (int p = 0; p < panels; ++p) {
    const auto first = [&](long row, int rows) {
      if (p == 0 && k0 == 0) before(row, rows);
    };
    multiply_panel<T, in_blocks>(o, group, backwards ? panels - 1 - p : p, row0, row1, k0, k1, backwards, result, first,
                                 [](long, int) {});
  }
}

// tile[v] = the products of one row and unit vectors from u0 on: so many vectors, in panels of NV. Three vectors are too few
// independent chains to fill the pipeline, so three such panels at once; four are as many as L2 feeds, faster from one place
// than from two. What is left of the vectors has a panel of its own.
template <class T>
FASTRNN_INLINE void multiply_row(const Operands<T>& o, long u0, int vectors, int NV, const T* left, bool backwards,
                                 Vec<T>* tile) {
  const int at_once = NV == 3 ? 3 : 1, whole = vectors / NV, rest = vectors % NV;
  const int pieces = (whole + at_once - 1) / at_once + (rest > 0);
  for (int i = 0; i < pieces; ++i) {
    const int p = (backwards ? pieces - 1 - i : i) * at_once, n = whole - p, v = n > 0 ? p * NV : whole * NV;
    const T* panel = o.panels + (u0 * o.layout.G + v) * o.K * width<T>;
    if (n >= at_once)
      lone_kernel_for<T>(NV, at_once)(left, o.k_stride, panel, NV * o.K * width<T>, o.K, tile + v);
    else
      lone_kernel_for<T>(n > 0 ? NV : rest, n)(left, o.k_stride, panel, NV * o.K * width<T>, o.K, tile + v);
  }
}

// The same of a group, in whatever panels it has.
template <class T>
__attribute__((noinline)) void multiply_row(const Operands<T>& o, const Group& group, const T* left, bool backwards,
                                            Vec<T>* tile) {
  multiply_row(o, group.unit0, group.vectors, group.most, left, backwards, tile);
}

// Calls body(tile, unit, units) for the unit vectors first..last of a lone row's product. A tile has as many of them as others
// have rows, where panels are wide: the body then has enough chains of operations that do not wait for each other.
//
// before(unit, units) is called before a tile's product, or after it where panels are gone over backwards: what one step has
// read last, the next one then reads first.
template <int G, bool narrow, class T, class Before, class Body>
FASTRNN_INLINE void for_lone_row(const Operands<T>& o, long row, long first, long last, bool backwards, Before before,
                                 Body body) {
  alignas(64) Vec<T> tile[MAX_ROWS * G + 1];
  tile[MAX_ROWS * G] = Vec<T>{};
  const T* left = o.a + number_of(o.numbers, row) * o.row_stride;
  const long groups = narrow ? o.layout.groups(last - first) : (last - first + MAX_ROWS - 1) / MAX_ROWS;
  if (o.K == 0)
    for (long k = 0; k < MAX_ROWS * G; ++k) tile[k] = Vec<T>{};
  for (long i = 0; i < groups; ++i) {
    const long g = backwards ? groups - 1 - i : i, u0 = first + g * (narrow ? o.layout.group() : MAX_ROWS);
    const long u1 = narrow ? o.layout.end(g, first, last) : smaller(u0 + MAX_ROWS, last);
    if (!backwards) before(u0, u1 - u0);
    if (o.K > 0) {
      if constexpr (narrow)
        multiply_row(o, Group(o.layout, u0, u1), left, backwards, tile);
      else
        multiply_row(o, u0, int(o.layout.vectors(u0, u1)), unit_vectors(G) * G, left, backwards, tile);
    }
    if (backwards) before(u0, u1 - u0);
    body(tile, u0, u1 - u0);
  }
}

// Rows whose tiles wait in memory until all panels of a group have been gone over.
constexpr long GROUP_ROWS = 48;

// In a step backward whose K is larger, k runs over a panel in blocks, and the tiles of more rows wait in memory meanwhile:
// the whole panel would have left L2 before the next tile comes.
constexpr long BLOCK_K = 2048;
constexpr long BLOCK_ROWS = 96;

// Calls body(tile, stride, row, rows, unit, units) for all rows row0..row1, two or more, and unit vectors first..last of a
// product, at most MAX_ROWS rows and a group of unit vectors at a time; row r, unit vector v and gate g of the tile stand at
// tile[r*stride + v*G + g]. before(row, rows, unit, units) is called before a tile's product.
//
// Panels are gone over forwards or `backwards`: a caller that changes the direction from step to step finds in L2 what
// it has used last, which is half of a matrix of twice that size.
template <class T, int G, bool in_blocks, class Before, class Body>
FASTRNN_INLINE void for_tiles(const Operands<T>& o, long row0, long row1, long first, long last, bool backwards, Before before,
                              Body body) {
  constexpr long most_rows = in_blocks ? BLOCK_ROWS : GROUP_ROWS;
  alignas(64) Vec<T> tile[most_rows * most_vectors(G) + 1];
  tile[most_rows * most_vectors(G)] = Vec<T>{};
  const long n = row1 - row0, block = in_blocks && o.K > BLOCK_K ? BLOCK_K : o.K, groups = o.layout.groups(last - first);
  const Pieces parts(n, block < o.K ? most_rows : GROUP_ROWS);
  if (o.K == 0)
    for (long k = 0; k < smaller(n, most_rows) * most_vectors(G); ++k) tile[k] = Vec<T>{};
  for (long i = 0; i < groups; ++i) {
    const long g = backwards ? groups - 1 - i : i, u0 = first + g * o.layout.group();
    const Group group(o.layout, u0, o.layout.end(g, first, last));
    const long units = group.unit1 - u0;
    for (long part = 0, r0 = row0, r1; part < parts.count; ++part, r0 = r1) {
      r1 = row0 + parts.first(part + 1);
      const Result<T> result = in_tile<T>(tile, r0, group.vectors);
      const auto before_rows = [&](long row, int rows) { before(row, rows, u0, units); };
      const auto after_rows = [&](long row, int rows) {
        body(tile + (row - r0) * group.vectors, group.vectors, row, rows, u0, units);
      };
      if (group.panels() == 1 && block == o.K) {
        multiply_panel<T, false>(o, group, 0, r0, r1, 0, o.K, backwards, result, before_rows, after_rows);
      } else {
        long k0 = 0, k1;
        do {
          k1 = smaller(k0 + block, o.K);
          multiply_group<T, in_blocks>(o, group, r0, r1, k0, k1, backwards, result, before_rows);
        } while ((k0 = k1) < o.K);
        const Pieces tiles(r1 - r0, MAX_ROWS);
        for (long t = 0, row = r0, next; t < tiles.count; ++t, row = next) {
          next = r0 + tiles.first(t + 1);
          after_rows(row, int(next - row));
        }
      }
    }
  }
}

}  // namespace
