// What the two time loops in kernels.pyx work on: the compiled side of the cell table, one call's operands and
// scratch, and the barrier of the threads that share a call.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "simd.hpp"

namespace fastrnn {

// One recurrent product and the elementwise step behind it. The product's left side is h, or r*h; its right side U's
// gate blocks gate..gate+gates; its result belongs to the same blocks of pre.
struct Phase {
  Epilogue epilogue;
  int gate, gates;
  bool reset;
};

// Gate blocks gate..gate+gates of W and b belong to blocks block.. of pre.
struct Segment {
  int gate, block, gates;
};

// What blocks block..block+blocks of da are the gradient's right side for: W's and b's gate blocks from W, and U's from
// U, with h or r*h on the left; -1 for none. Where W is -1 their column sums are the gradient of b_rec.
struct Gradient {
  int block, blocks, W, U;
  bool reset;
};

// One cell. pre and da have `blocks` blocks of H columns, gates has `saved`. The backward step runs the phases'
// epilogues last to first; the product with the transposed U of a phase precedes the epilogue that needs it: at the
// next (earlier) step for h, in the same step for r*h.
struct Cell {
  const char* name;
  int gates, blocks, saved;
  bool carry;    // part of dh reaches the step before without a product
  bool gates_in_inference;  // the second phase reads what the first one saved
  int b_rec;     // block of pre that starts from b_rec, or -1
  int phases, segments, gradients;
  Phase phase[2];
  Segment segment[2];
  Gradient gradient[3];
};

inline const Cell* cell_table(int* count) {
  static const Cell cells[] = {
      {"rnn_tanh", 1, 1, 0, false, false, -1, 1, 1, 1, {{RNN_TANH, 0, 1, false}}, {{0, 0, 1}}, {{0, 1, 0, 0, false}}},
      {"rnn_relu", 1, 1, 0, false, false, -1, 1, 1, 1, {{RNN_RELU, 0, 1, false}}, {{0, 0, 1}}, {{0, 1, 0, 0, false}}},
      {"lstm", 4, 4, 4, false, false, -1, 1, 1, 1, {{LSTM, 0, 4, false}}, {{0, 0, 4}}, {{0, 4, 0, 0, false}}},
      {"gru", 3, 4, 4, true, false, 2, 1, 2, 3, {{GRU, 0, 3, false}}, {{0, 0, 2}, {2, 3, 1}},
       {{0, 2, 0, 0, false}, {2, 1, -1, 2, false}, {3, 1, 2, -1, false}}},
      {"gru_before", 3, 3, 3, true, true, -1, 2, 1, 2,
       {{GRU_BEFORE_GATES, 0, 2, false}, {GRU_BEFORE_OUTPUT, 2, 1, true}}, {{0, 0, 3}},
       {{0, 2, 0, 0, false}, {2, 1, 2, 2, true}}},
  };
  *count = int(sizeof cells / sizeof cells[0]);
  return cells;
}

// A call: the arguments of fastrnn/reference.py's forward or backward, its plan and its scratch.
template <class T> struct Scan {
  const Cell* cell;
  const Kernels<T>* kernels;
  bool blas;         // products by BLAS, one thread here
  bool packed = false;  // packed_W and packed_U hold the weights already: a session's, kept from call to call
  bool by_rows;      // threads split rows and never meet inside a chunk; else they split units and meet every step
  int threads;
  long steps, N, D, H, chunk;  // chunk: steps that are projected at once
  const int64_t *start, *rows;

  const T *x, *W, *U, *b, *b_rec, *h0, *c0;
  T *y, *gates, *c;
  bool keep;

  const T* dy;
  T *dh, *dc, *dx, *dW, *dU, *db, *db_rec;

  // scratch
  T* packed_W[2];    // per segment: (D, gates*H) forward, its transpose backward
  T* packed_U[2];    // per phase: (H, gates, H) forward, its transpose backward
  T* pre;            // (chunk*N, blocks*H), backward da
  T* edge;           // (N, blocks*H): da of the step that the next chunk's last step follows
  T* h_prev;         // (chunk*N, H): left side of dU
  T* rh;             // (N, H) forward, (chunk*N, H) backward
  T* drh;            // (N, H): gradient of r*h, from BLAS
  T* outer;          // (threads, outer_scratch)
};

// array + offset; null stays null.
template <class T> T* at(T* array, long offset) { return array ? array + offset : array; }

// Hands out 64-byte aligned pieces of one block; with base = null it only counts.
struct Arena {
  char* base;
  size_t used;

  template <class T> void take(T*& piece, long n) {
    piece = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (size_t(n) * sizeof(T) + 63) / 64 * 64;
  }
};

// A barrier that spins, since steps are short, and yields, since cores may be fewer than threads.
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
    for (int spins = 0; phase.load(std::memory_order_acquire) == now; ++spins) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
      if (spins > 4000) std::this_thread::yield();
    }
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

inline bool built_with_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

}  // namespace fastrnn
