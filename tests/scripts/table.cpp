// Runs the baseline table without Python, so that an emulator can: steps of an LSTM against the equations in double, and the
// functions at their limits. Exits with 1 and says where something is wrong. See .ci/run.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

#include "simd.hpp"

namespace fastrnn {
namespace tables {
extern const Isa baseline;
}
}  // namespace fastrnn

namespace {

using fastrnn::Forward;
using fastrnn::Kernels;
using fastrnn::Rules;

constexpr long GATES = 4, SLACK = 64;

// n numbers and zeros behind them, 64-byte aligned; never freed.
template <class T> T* numbers(long n, double size = 0.5) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, (n + SLACK) * sizeof(T))) std::abort();
  T* array = static_cast<T*>(memory);
  for (long k = 0; k < n + SLACK; ++k) array[k] = k < n ? T(size * (2.0 * std::rand() / RAND_MAX - 1)) : T(0);
  return array;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The largest error of h and c after one step of N rows and H units.
template <class T> double error_of_step(const Kernels<T>& kernels, long N, long H, bool narrow) {
  const long width = GATES * H;
  T *U = numbers<T>(H * width), *panels = numbers<T>(kernels.packed_size(H, H, GATES), 0);
  T *pre = numbers<T>(N * width), *gates = numbers<T>(N * width, 0), *h0 = numbers<T>(N * H), *c0 = numbers<T>(N * H);
  T *h = numbers<T>(N * H, 0), *c = numbers<T>(N * H, 0);
  kernels.pack(panels, U, H, H, GATES, narrow, width, 1, H, 0, H);
  Rules<T> rules;
  Forward<T> step{};
  step.H = step.block = step.K = H, step.a = step.h_prev = step.left = h0, step.panels = panels, step.narrow = narrow;
  step.where = {H, pre, width, gates, width}, step.c_prev = c0, step.h = h, step.c = c, step.rules = &rules;
  kernels.forward(fastrnn::LSTM, &step, 0, N, 0, H);
  double worst = 0;
  for (long r = 0; r < N; ++r)
    for (long u = 0; u < H; ++u) {
      double a[GATES];
      for (long g = 0; g < GATES; ++g) {
        a[g] = pre[r * width + g * H + u];
        for (long k = 0; k < H; ++k) a[g] += double(h0[r * H + k]) * U[k * width + g * H + u];
      }
      const double state = sigmoid(a[1]) * c0[r * H + u] + sigmoid(a[0]) * std::tanh(a[2]);
      const double found[] = {std::fabs(c[r * H + u] - state), std::fabs(h[r * H + u] - sigmoid(a[3]) * std::tanh(state))};
      for (const double error : found) worst = error <= worst ? worst : error;  // and not a number is the worst
    }
  return worst;
}

template <class T> int check(const char* name, const Kernels<T>& kernels, double tolerance) {
  int wrong = 0;
  for (long N : {1, 2, 3, 5, 9})
    for (long H : {3, 8, 17, 33, 50})
      for (bool narrow : {false, true}) {
        const double error = error_of_step(kernels, N, H, narrow);
        if (!(error < tolerance)) ++wrong, std::printf("%s: N %ld, H %ld, narrow %d: error %g\n", name, N, H, narrow, error);
      }
  const T inf = T(INFINITY), x[] = {-inf, 0, inf, T(NAN)};
  T s[4], t[4];
  kernels.sigmoid(x, s, 4), kernels.tanh(x, t, 4);
  const bool fine = s[0] == 0 && s[1] == T(0.5) && s[2] == 1 && t[0] == -1 && t[1] == 0 && t[2] == 1;
  if (!fine || !std::isnan(s[3]) || !std::isnan(t[3])) ++wrong, std::printf("%s: limits of sigmoid and tanh\n", name);
  return wrong;
}

}  // namespace

int main() {
  const fastrnn::Isa& table = fastrnn::tables::baseline;
  const int wrong = check("float", table.f32, 1e-5) + check("double", table.f64, 1e-13);
  std::printf("%ld and %ld lanes: %s\n", table.f32.lanes, table.f64.lanes, wrong ? "wrong" : "right");
  return wrong ? 1 : 0;
}
