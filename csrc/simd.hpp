// The compiled kernels' contract: what one table of function pointers per instruction set offers.
//
// T steps, N rows (sequences), D inputs, H units, G gate blocks. Matrices are row-major; ld is the distance between
// rows in elements. A "vector" is one register of V = lanes elements. Nobody here allocates, checks or throws; all
// pointers stay the caller's.
#pragma once

#include <cstdint>

namespace fastrnn {

static_assert(sizeof(long) >= sizeof(void*), "sizes are counted in long: FASTRNN_PURE=1 installs the NumPy backend alone");

constexpr int MAX_GATES = 4;

// The elementwise steps. Those of the first line are fused for the usual functions. ANY: with the functions, the clip and
// the peepholes of Rules; an LSTM then has two, one that makes c and one that makes h, with or without the gate f.
enum Epilogue {
  RNN_TANH, RNN_RELU, LSTM, GRU, GRU_BEFORE_GATES, GRU_BEFORE_OUTPUT,
  RNN_ANY, GRU_ANY, GRU_BEFORE_GATES_ANY, GRU_BEFORE_OUTPUT_ANY,
  LSTM_CELL, LSTM_OUTPUT, COUPLED_CELL, COUPLED_OUTPUT,
  ACCUMULATE
};

// Elementwise functions; fastrnn/activations.py has their formulas.
enum Kind {
  TANH, SIGMOID, RELU, LINEAR, SOFTSIGN, SOFTPLUS, HARD_SIGMOID, LEAKY_RELU, THRESHOLDED_RELU, SCALED_TANH, AFFINE, ELU
};

template <class T> struct Function {
  int kind = TANH;
  T alpha = 0, beta = 0;
};

// What the steps named ANY and the LSTM's two look up.
template <class T> struct Rules {
  Function<T> activation, recurrent, output;
  T clip = 0;            // 0: none
  const T* p = nullptr;  // (3 or 2, H): diagonal peepholes, or null
};

// Arrays of so many elements each, fetched into L2 while a product runs; empty where they are there anyhow.
template <class T> struct Ahead {
  static constexpr int MOST = 4;
  const T* at[MOST];
  long size[MOST];
};

// out = a . panels (+ bias), or with add: out += a . panels
template <class T> struct Product {
  long K, columns;
  const T* a;       // element (row, k) at a[row * row_stride + k * k_stride]
  long row_stride, k_stride;
  const T* panels;  // packed (K, gates*columns), columns in the place of units
  bool narrow;
  const T* bias;    // (gates*columns,) or null
  T* out;           // those of gate g from element block[g] of a row on
  long ld;
  bool add;
  const int64_t* a_rows = nullptr;    // the product's row r is row a_rows[r] of a, and row r where null
  const int64_t* out_rows = nullptr;  // the same of out
  long matrix_ld = 0;                 // not 0: panels is the matrix as it lies, by rows so far apart; never with `add`
  long gap_at = 0, gap = 0;           // of product_back: from gap_at on, elements of a's rows stand gap further
  int gates = 1;
  long block[MAX_GATES] = {};
  const Ahead<T>* next = nullptr;     // of many rows with one gate, a hint
};

// Where rows of a step forward stand in their arrays.
template <class T> struct Where {
  long ld;        // of the arrays (rows, H)
  const T* pre;   // (rows, ld pre_ld): projected input and biases, one block after another from block 0
  long pre_ld;
  T* gates;       // (rows, ld gates_ld): activated gates out; may be null, but not for GRU_BEFORE_*
  long gates_ld;
};

// One step forward over rows x units: gates = pre + a . panels, then the cell. K = 0 stands for no product.
template <class T> struct Forward {
  long H;
  long block;       // from gate block to gate block of pre and gates: H
  bool backwards;   // take the panels from the last to the first
  long K;
  const T* a;       // (rows, K), ld K: the state before, or r*h for GRU_BEFORE_OUTPUT
  const T* panels;  // packed (K, G*H); see Kernels::pack
  bool narrow;
  const T* sums;    // (rows, ld sums_ld): the product that has been made apart, with K = 0; null: none has
  long sums_ld;
  const Product<T>* input;  // makes the rows and units of pre just before they are read; null: they are there
  Where<T> where;
  bool stream;      // past the caches, which will have lost the gates when they are wanted; H is whole vectors
  const T* h_prev;  // (rows, H)
  const T* left;    // (rows, H): h_prev as the products see it
  const T* c_prev;  // (rows, H); may be c
  const T* squashed;  // (rows, H): what the LSTM's output function is given in LSTM_OUTPUT; may be c
  Ahead<T> next;    // what the next step will write, and some of what the next chunk's projection will read
  T* h;             // (rows, H) out
  T* c;             // (rows, H) out
  T* rh;            // (rows, H) out of GRU_BEFORE_GATES: r*left
  const Rules<T>* rules;
};

// One step backward: dh = (a . panels + extra) * mask + carry + dy, then the cell's adjoint. K = 0 stands for no product.
// The steps named ANY and the LSTM's two find dh in `total`, where ACCUMULATE has left it.
template <class T> struct Backward {
  long H;
  bool backwards;      // as in Forward
  long K;
  const T* a;          // (rows, K), ld a_ld: da of the step after, or a block of this step's
  long a_ld;
  const T* panels;     // packed (K, H)
  bool narrow;
  const T* extra;      // (rows, H): a product that is there already, or null
  const T* mask;       // (rows, H): factors of the product's result, or null
  bool read_carry;     // dh holds a term to add
  const T* dy;         // (rows, H) or null
  T* dh;               // (rows, H): the term that reaches the step before without a product (GRU: dh*z)
  T* dc;               // (rows, H): gradient of c, in and out
  bool fetched;        // what this step reads of the forward pass has been, by the one before
  Ahead<T> next;       // what the next one will
  const T* gates;      // (rows, ld gates_ld) as Forward left them
  long gates_ld;
  const T* y;          // (rows, H): h of this step
  const T* h_prev;     // (rows, H)
  const T* left;       // (rows, H): h_prev as the products see it
  const T* c;          // (rows, H)
  const T* c_prev;     // (rows, H)
  T* da;               // (rows, ld da_ld) out: gradient of pre, in the blocks of pre
  long da_ld;
  T* rh;               // (rows, H) out of GRU_BEFORE_GATES: r*left; out of LSTM_OUTPUT: o*function(squashed), or null
  T* total;            // (rows, H): dh; out of ACCUMULATE
  const T* squashed;   // (rows, H): as in Forward
  T* dsquashed;        // (rows, H) out of LSTM_OUTPUT: its gradient; null: it is c, and so added to dc
  bool keep_carry;     // GRU_ANY, GRU_BEFORE_OUTPUT_ANY: add to dh, which holds a term for the step before
  const Rules<T>* rules;
};

// What is done to whole rows between products and elementwise steps.
enum RowWork {
  TIMES,           // out = in * other
  ADD,             // out += in
  BLEND,           // out = old + other * (in - old)
  SPLIT,           // old = in - other * in, then in-out out = other * in
  NORMALISE,       // hat = (in - mean) * scale; out = (out where add) + hat * gain + bias
  NORMALISE_BACK   // with g = in * gain: out = (out where add) + scale * (g - mean(g) - hat * mean(g * hat))
};

// Operands of RowWork: arrays of `width` columns, each with its own distance between rows; 0 where all rows are one.
template <class T> struct Rows {
  long width;
  const T* in;
  long in_ld;
  const T* other;  // TIMES, BLEND, SPLIT
  long other_ld;
  T* old;          // BLEND: in; SPLIT: out
  long old_ld;
  T* hat;          // out of NORMALISE (may be in), in to NORMALISE_BACK
  long hat_ld;
  T* scale;        // one number per row: out of NORMALISE, in to NORMALISE_BACK
  long scale_ld;
  const T* gain;   // (width,)
  const T* bias;   // (width,) or null
  T* out;
  long out_ld;
  bool add;
};

// sums (columns,) += column sums of a * b, of a alone where b is null
template <class T> struct ColumnSums {
  long R;
  const T* a;
  long lda;
  const T* b;
  long ldb;
  T* sums;
  const int64_t* a_rows = nullptr;  // row r is row a_rows[r] of a, and row r where null
};

// out[i] (M[i], columns) += a[i]' b for up to two left sides that share b, or = without `add`, and sums (columns,) += column
// sums of b.
// With `transposed` out[i] is its transpose, (columns, M[i]): the same sums, of which each is one product from b' a[i].
template <class T> struct Outer {
  long R, columns;
  const T* b;      // (R, columns), ld ldb
  long ldb;
  const T* a[2];   // (R, M[i]), ld M[i]
  long M[2];       // 0: no such side
  T* out[2];
  long ld;         // of out; M[i] where transposed
  bool transposed;
  T* sums;         // or null
  const int64_t* a_rows[2] = {};  // row r is row a_rows[i][r] of a[i], and row r where null
  const int64_t* b_rows = nullptr;
  bool add = true;
  bool exchanged = false;         // a and b have changed places, with `transposed`: the bits are to be those of b' a
};

// Weight gradients that one call makes.
constexpr int MAX_OUTERS = 6;

enum Rule { ADAM, SGD, RMSPROP };

// The numbers of one optimiser step; fastrnn/reference_flat.py has the equations. What a rule does not have stays.
struct Step {
  double rate = 0;
  double scale = 1;             // of the gradient
  double new_m = 0, new_v = 0;  // weight of the new gradient in m (ADAM), and of its square in v (ADAM, RMSPROP)
  double momentum = 0;          // SGD
  bool nesterov = false;        // SGD
  double correction = 1;        // ADAM: of the bias of v
  double eps = 0;
  double decay = 0;             // ADAM: share of the parameter itself that a step takes off
};

// Flat arrays that a step goes over.
template <class T> struct Update {
  T* params;        // in and out
  const T* grads;
  T* m;             // running mean of the gradient (ADAM), velocity (SGD; null without momentum), in and out
  T* v;             // running mean of its square (ADAM, RMSPROP), in and out
};

// Per row: losses = weight * -log softmax(logits)[target], dlogits = scale * its gradient. Rows of weight 0 are not read.
template <class T> struct CrossEntropy {
  long V;
  const T* logits;         // (R, V)
  const int64_t* targets;  // (R,)
  const double* weights;   // (R,), or null for 1
  double scale;
  T* dlogits;              // (R, V) out
  double* losses;          // (R,) out
};

template <class T> struct Kernels {
  long lanes;
  // Rows from which on a product takes a packed matrix; fewer may take it as it lies, see Product::matrix_ld.
  long packed_rows;
  // First of a thread's share of n units (columns when G = 1): shares do not divide what panels have in common.
  long (*first_unit)(long n, long G, bool narrow, int thread, int threads);
  // Whether the panels of products of so many rows are to be narrow.
  bool (*narrow)(long K, long rows);
  // Elements of a packed (K, G*H) matrix.
  long (*packed_size)(long K, long H, long G);
  // Pack units first..last of the matrix whose element (k, unit, gate) is src[k*k_stride + unit*unit_stride +
  // gate*gate_stride] into panels [K][vectors][V], of which product.hpp's Layout has the vectors; `narrow` ones are for many
  // rows. Lanes past H are zero. dst is 64-byte aligned. One of k_stride and unit_stride is 1.
  void (*pack)(T* dst, const T* src, long K, long H, long G, bool narrow, long k_stride, long unit_stride,
               long gate_stride, long first, long last);
  // Rows row0..row1 and units (columns) unit0..unit1 of one step or product.
  void (*forward)(int epilogue, const Forward<T>* step, long row0, long row1, long unit0, long unit1);
  void (*backward)(int epilogue, const Backward<T>* step, long row0, long row1, long unit0, long unit1);
  void (*product)(const Product<T>* product, long row0, long row1, long column0, long column1);
  // The product of an input's gradient: without a bias or gates, all columns, and summed in an order of its own. back_size
  // is that of its packed (K, columns) matrix, which pack_back packs as pack would; scratch as outer's.
  long (*back_size)(long K, long columns);
  void (*pack_back)(T* dst, const T* src, long K, long columns, long k_stride, long column_stride, long first, long last);
  void (*product_back)(const Product<T>* product, long row0, long row1, long column0, long column1, T* scratch);
  // The rows of its left side may have a gap at multiples of this; 0: they may not.
  long (*gap_unit)(long K, long columns);
  // A thread's share of n weight gradients over the same R rows; scratch: outer_scratch(M[0], M[1], columns where
  // transposed, else 0) elements, for the largest of each, 64-byte aligned.
  void (*outer)(const Outer<T>* outers, int n, int thread, int threads, T* scratch);
  long (*outer_scratch)(long M0, long M1, long columns);
  // Rows row0..row1 of one RowWork.
  void (*rows)(int work, const Rows<T>* rows, long row0, long row1);
  void (*column_sums)(const ColumnSums<T>* sums, long column0, long column1);
  // y[k] = sigmoid(x[k]), y[k] = tanh(x[k])
  void (*sigmoid)(const T* x, T* y, long n);
  void (*tanh)(const T* x, T* y, long n);
  // Elements first..last of one optimiser step.
  void (*update)(int rule, const Step* step, const Update<T>* update, long first, long last);
  // In float64, in an order that depends on n only.
  double (*sum_of_squares)(const T* x, long n);
  void (*cross_entropy)(const CrossEntropy<T>* loss, long row0, long row1);
};

struct Isa {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
  // Floating-point operations per call of a loop of fused multiply-adds that touches no memory.
  long (*fma_loop)(long iterations);
  // Bytes that a loop reads which goes over `count` floats so many times, to and fro.
  long (*read_loop)(const float* data, long count, long times);
};

// The tables that this build holds and this CPU can run, best first.
int available(const Isa** tables, int most);

}  // namespace fastrnn
