// Which of the compiled tables this CPU can run. Compiled for the baseline: it runs before we know.
#include "simd.hpp"

namespace fastrnn {
namespace tables {
extern const Isa baseline;
#ifdef FASTRNN_X86
extern const Isa avx2, avx512;
#endif
}  // namespace tables

int available(const Isa** found, int most) {
  int n = 0;
#ifdef FASTRNN_X86
  __builtin_cpu_init();
  if (n < most && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    found[n++] = &tables::avx512;
  if (n < most && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &tables::avx2;
#endif
  if (n < most) found[n++] = &tables::baseline;
  return n;
}

}  // namespace fastrnn
