// What the two time loops in kernels.pyx work on: the compiled side of the cell table, one call's operands and
// scratch, and the barrier of the threads that share a call.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <unistd.h>
#endif

#include "simd.hpp"

namespace fastrnn {

// What a cell is to the loops: fastrnn/cells.py's options.
struct Cell {
  enum Name { RNN, LSTM_, GRU_, GRU_BEFORE };  // in the order of door.pxi
  int name = RNN;
  bool diagonal = false, full = false;  // peepholes
  bool coupled = false, projected = false, normed = false;
  bool any = false;             // functions or a clip other than the fused steps have, or work between those
  bool carries = false;         // part of dh reaches the step before without a product
  bool has_inner = false;       // a second product has a left side of its own
  bool gates_in_inference = false;  // one step reads what another has saved
  int gates = 1, saved = 0;     // blocks of W, U and b; blocks that the tape keeps
  int blocks = 1;               // blocks of pre and da: the gates', and the GRU's reset product m before n
  int norms = 0;
  int norm[2][2] = {};          // gate blocks first..last that are normalised together
};

// Arrays of a step, which products and work on rows find by number; C_NEW is c before zoneout, C_LAST after it.
enum Place {
  NOTHING, X, X_HAT, PRE, GATES, LEFT, H_PREV, H_NEW, C_PREV, C_NEW, C_LAST, INNER, RAW, HAT, SQUASHED, C_HAT, MASK,
  SHARE_H, SHARE_C, DA, DU, DA_NEXT, TOTAL, DH, DC, DC_LAST, DINNER, DSQUASHED, DCELLS, PLACES
};

// Gate blocks gate..gate+gates of W and b belong to blocks block.. of pre. After `gap_after` of them pre has one that W has
// not; 0: it has none.
struct Segment {
  int gate, block, gates;
  int gap_after = 0;
};

// A matrix of parameters, or their gradient: element (row, column) is at[row * ld + column], at[column * ld + row] where
// `transposed`.
template <class T> struct Matrix {
  T* at = nullptr;
  long ld = 0;
  bool transposed = false;

  // The columns from this one on.
  Matrix from(long column) const { return {at + column * (transposed ? ld : 1), ld, transposed}; }
};

// A matrix that products multiply from the right: (K, gates*units), or its transpose where `transposed`; `back`: packed for
// the gradient of the input; `narrow`: in panels for many rows; `unpacked`: read as it lies.
template <class T> struct Weight {
  const T* source;
  long ld;
  bool transposed;
  long K, units, gates;
  bool back, narrow, unpacked;
  T* packed;

  // A Product's panels and matrix_ld.
  const T* right() const { return unpacked ? source : packed; }
  long matrix_ld() const { return unpacked ? ld : 0; }
};

// One thing that a step does. With a weight, its product has `left` from block left_block on to its left.
struct Op {
  enum Action { STEP, PRODUCT, ROWS } action;
  int what;                // the Epilogue of a STEP, the RowWork of ROWS
  int weight = -1;
  int input = -1;          // of a STEP forward: the segment that it may project
  Place left = NOTHING;
  int left_block = 0;      // also of ROWS' `in`
  Place out = NOTHING;     // of a STEP forward: what a product by BLAS is added to
  int out_block = 0;
  bool add = false;
  Place other = NOTHING;   // ROWS
  Place old = NOTHING;
  int group = -1;          // ROWS: the group of blocks that is normalised; -1 for c
};

// out (left's columns, columns) += left' b, for up to two left sides that share b, and sums += column sums of b.
template <class T> struct Gradient {
  Place b;
  int block;
  long columns;
  Place left[2];
  Matrix<T> out[2];  // both transposed or neither; {} without a left side
  T* sums;

  bool transposed() const { return out[0].transposed || out[1].transposed; }
};

// sums += column sums of a * b, of a alone where b is NOTHING
template <class T> struct Reduction {
  Place a;
  int a_block;
  Place b;
  int b_block;
  long columns;
  T* sums;
};

// Parameters by name, or their gradients; null for what the cell does not have.
template <class T> struct Params {
  Matrix<T> W, U, P, W_proj;
  T *b = nullptr, *b_rec = nullptr, *p = nullptr;
  T *gain_W = nullptr, *gain_U = nullptr, *gain_c = nullptr, *bias_c = nullptr;
};

template <class T> struct At {
  T* at;
  long ld;
  const int64_t* rows;  // of a chunk: packed row r, counted from the chunk's first, is row rows[r]; null: row r
};

// What a thread has of a chunk's packed rows: rows first..last of pre. Row r of pre is packed row numbers[r], counted from the
// chunk's first, and row places[r] of x (of dx), counted as x is; null: row r.
struct Share {
  long first, last;
  const int64_t *numbers, *places;
};

// A call: the arguments of fastrnn/reference.py's forward or backward, its plan, its program and its scratch.
// S is the width of h.
template <class T> struct Scan {
  Cell cell;
  Rules<T> rules;
  const Kernels<T>* kernels;
  bool blas;         // products by BLAS, one thread here
  bool packed = false;  // weights are packed already: a session's, kept from call to call
  bool own_weights = false;  // each thread packs all weights, and has its own copy of them
  bool interleaved = false;  // W's panels lie as U's do, gates side by side, so that a step may project its own input
  long steps, N, D, H, S, chunk;  // chunk: steps of N rows that are projected at once, or whose da is kept
  const int64_t *start, *rows;

  // What a stream changes from step to step stands together, since every helper's cache has to fetch it.
  const T* x = nullptr;
  T* y = nullptr;
  int threads;
  bool by_rows;            // threads split rows and never meet inside a chunk; else they split units and meet after every op
  bool apart;              // and each projects the rows that are its own, which stand together in pre, and forward they do
                           // not meet before either
  bool backwards = false;  // how the step before the first went over its panels
  bool stream = false;     // the gates are written past the caches

  Params<T> params, grads;
  bool add = true;  // to what grads hold; else that is written over
  const int64_t* codes = nullptr;  // null, or x and dx are a table's: packed row r has row codes[r] of (V, gates*H)
  const T *h0 = nullptr, *c0 = nullptr, *mask = nullptr, *new_h = nullptr, *new_c = nullptr;
  long new_h_ld = 0, new_c_ld = 0;  // 0: one row for all
  T *gates = nullptr, *c = nullptr, *c_new = nullptr;
  T *x_hat = nullptr, *u_hat = nullptr, *x_scale = nullptr, *u_scale = nullptr;
  bool keep;
  const T *dy = nullptr, *dcells = nullptr;
  T *dh = nullptr, *dc = nullptr, *dx = nullptr;
  T* out = nullptr;                  // where y goes besides, or alone where y is null
  // Packed row r stands in row x_at[r] of x, and so on; null: in row r. Products by BLAS have x and dx in order. The rows
  // of a step of y follow one another in any case, those of dy unless `dy_apart`.
  const int64_t *x_at = nullptr, *y_at = nullptr, *dy_at = nullptr, *dx_at = nullptr, *out_at = nullptr;
  bool dy_apart = false;

  // the program
  int segments = 0, ops = 0, n_weights = 0, gradients = 0, reductions = 0, late_gradients = 0;
  Segment segment[2];             // weights 0 and 1 belong to them
  Op op[16];
  Weight<T> weight[6];
  Gradient<T> gradient[MAX_OUTERS];  // `late_gradients` of them after the projection's normalisation has been undone
  Reduction<T> reduction[10];

  // scratch
  T* pre = nullptr;            // (chunk*N, blocks*H), backward da
  T* h = nullptr;              // (2, N, S): h of even and of odd steps where there is no y
  T* dy_rows = nullptr;        // dy where its rows are apart, in packed order: (N, S) of a step, (chunk*N, S) of a chunk
                               // where threads split units
  T* du = nullptr;             // (chunk*N, blocks*H): gradient of h U, where that is normalised
  T* edge = nullptr;           // (N, blocks*H): da (du) of the step that the next chunk's last step follows
  T* left = nullptr;           // (N, S) forward, (chunk*N, S) backward: h as products see it
  T* c_prev = nullptr;         // (chunk*N, H) backward, for peepholes
  T* inner = nullptr;          // (N, H) forward, (chunk*N, H) backward: left side of the second product
  T* raw = nullptr;            // (N, gates*H): h U before it is normalised
  T* scale = nullptr;          // (N, 3): what rows were multiplied by to be normalised: groups of h U without a tape, c
  T* chunk_scale = nullptr;    // (chunk*N, norms): the same for x W
  T* squashed = nullptr;       // (N, H): c, normalised
  T* c_hat = nullptr;          // (N, H) forward, (chunk*N, H) backward
  T* dsquashed = nullptr;      // (chunk*N, H)
  T* total = nullptr;          // (chunk*N, S): dh
  T* dinner = nullptr;         // (N, H)
  T* dc_last = nullptr;        // (N, H): gradient of c that zoneout passes to the step before
  T* product = nullptr;        // a step's product that is made apart: (N, gates*H) forward, (N, max(S, H)) by BLAS
  T* outer = nullptr;          // (threads, outer_scratch)
  int64_t *numbers = nullptr, *places = nullptr;  // (chunk*N): a Share's, of several steps
  int64_t* turned = nullptr;   // (chunk*N) backward: row of pre of a packed row, the opposite of numbers
};

// array + offset; null stays null.
template <class T> T* at(T* array, long offset) { return array ? array + offset : array; }

// Hands out 64-byte aligned pieces of one block; with base = null it only counts.
struct Arena {
  char* base;
  size_t used;

  template <class T> void take_if(bool wanted, T*& piece, long n) {
    if (wanted) take(piece, n);
  }

  template <class T> void take(T*& piece, long n) {
    piece = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (size_t(n) * sizeof(T) + 63) / 64 * 64;
  }
};

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// A wait that spins, since steps are short, and yields, since cores may be fewer than threads.
struct Spin {
  int turns = 0;

  void once() {
    relax();
    if (++turns > 4000) std::this_thread::yield();
  }
};

// A barrier for threads that share a call.
struct Barrier {
  std::atomic<int> arrived{0};
  std::atomic<int> phase{0};

  void wait(int threads) {
    if (threads == 1) return;
    const int now = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
      arrived.store(0, std::memory_order_relaxed);
      phase.store(now + 1, std::memory_order_release);
      return;
    }
    for (Spin spin; phase.load(std::memory_order_acquire) == now;) spin.once();
  }
};

// Threads of the parallel region around the caller.
inline int team_size() {
#ifdef _OPENMP
  return omp_get_num_threads();
#else
  return 1;
#endif
}

// Bytes of a core's L2; where the system does not tell, what most have at least.
inline long l2_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return size;
#endif
  return 1024 * 1024;
}

inline bool built_with_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

}  // namespace fastrnn
