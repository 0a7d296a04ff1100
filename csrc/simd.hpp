// The compiled kernels' contract: what one table of function pointers per instruction set offers.
//
// T steps, N rows (sequences), D inputs, H units, G gate blocks. Matrices are row-major; ld is the distance between
// rows in elements. A "vector" is one register of V = lanes elements. Nobody here allocates, checks or throws; all
// pointers stay the caller's.
#pragma once

#include <cstdint>

namespace fastrnn {

// The elementwise steps. A cell is a list of phases; each phase is one product and one of these.
enum Epilogue { RNN_TANH, RNN_RELU, LSTM, GRU, GRU_BEFORE_GATES, GRU_BEFORE_OUTPUT, ACCUMULATE };

// One step forward over rows x units: gates = pre + a . panels, then the cell. K = 0 stands for no product.
template <class T> struct Forward {
  long H;
  long K;
  const T* a;       // (rows, K), ld K: the state before, or r*h for GRU_BEFORE_OUTPUT
  const T* panels;  // packed (K, G*H); see Kernels::pack
  const T* pre;     // (rows, ld pre_ld): projected input and biases, one block after another from block 0
  long pre_ld;
  T* gates;         // (rows, ld gates_ld): activated gates out; may be null, but not for GRU_BEFORE_*
  long gates_ld;
  const T* h_prev;  // (rows, H)
  const T* c_prev;  // (rows, H); may be c
  T* h;             // (rows, H) out
  T* c;             // (rows, H) out
  T* rh;            // (rows, H) out of GRU_BEFORE_GATES: r*h
};

// One step backward: dh = a . panels + dy + carry, then the cell's adjoint. K = 0 stands for no product.
template <class T> struct Backward {
  long H;
  long K;
  const T* a;          // (rows, K), ld a_ld: da of the step after, or a block of this step's
  long a_ld;
  const T* panels;     // packed (K, H)
  bool read_carry;     // dh holds a term to add
  const T* dy;         // (rows, H) or null
  T* dh;               // (rows, H): the term that reaches the step before without a product (GRU: dh*z)
  T* dc;               // (rows, H): gradient of c, in and out
  const T* gates;      // (rows, ld gates_ld) as Forward left them
  long gates_ld;
  const T* y;          // (rows, H): h of this step
  const T* h_prev;     // (rows, H)
  const T* c;          // (rows, H)
  const T* c_prev;     // (rows, H)
  T* da;               // (rows, ld da_ld) out: gradient of pre, in the blocks of pre
  long da_ld;
  T* rh;               // (rows, H) out of GRU_BEFORE_GATES: r*h
};

// out[:, :columns] = a . panels (+ bias), or with add: out += a . panels
template <class T> struct Product {
  long K, columns;
  const T* a;       // element (row, k) at a[row * row_stride + k * k_stride]
  long row_stride, k_stride;
  const T* panels;  // packed (K, columns) with G = 1
  const T* bias;    // (columns,) or null
  T* out;
  long ld;
  bool add;
};

// out[i] (M[i], columns) += a[i]' b for up to two left sides that share b, and sums (columns,) += column sums of b.
template <class T> struct Outer {
  long R, columns;
  const T* b;      // (R, columns), ld ldb
  long ldb;
  const T* a[2];   // (R, M[i]), ld M[i]
  long M[2];       // 0: no such side
  T* out[2];
  long ld;
  T* sums;         // or null
};

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
  // Units (columns when G = 1) that share a panel; splits between threads fall on multiples of it.
  long (*panel_units)(long G);
  // Elements of a packed (K, G*H) matrix.
  long (*packed_size)(long K, long H, long G);
  // Pack units first..last of the matrix whose element (k, unit, gate) is src[k*k_stride + unit*unit_stride +
  // gate*gate_stride] into panels [K][units of the panel / V][G][V]; lanes past H are zero. dst is 64-byte aligned.
  void (*pack)(T* dst, const T* src, long K, long H, long G, long k_stride, long unit_stride, long gate_stride,
               long first, long last);
  // Rows row0..row1 and units (columns) unit0..unit1 of one step or product.
  void (*forward)(int epilogue, const Forward<T>* step, long row0, long row1, long unit0, long unit1);
  void (*backward)(int epilogue, const Backward<T>* step, long row0, long row1, long unit0, long unit1);
  void (*product)(const Product<T>* product, long row0, long row1, long column0, long column1);
  // Columns column0..column1 of a weight gradient; scratch: outer_scratch(M[0], M[1]) elements, 64-byte aligned.
  void (*outer)(const Outer<T>* outer, long column0, long column1, T* scratch);
  long (*outer_scratch)(long M0, long M1);
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
};

// The tables that this build holds and this CPU can run, best first.
int available(const Isa** tables, int most);

}  // namespace fastrnn
