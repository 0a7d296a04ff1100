// Which of the compiled tables this CPU can run. Compiled for the baseline: it runs before we know.
#include "simd.hpp"

#ifdef FASTRNN_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastrnn {
namespace tables {
extern const Isa baseline;
#ifdef FASTRNN_X86
extern const Isa avx2, avx512;
#endif
}  // namespace tables

#ifdef FASTRNN_AMX
Isa with_amx(Isa table);

namespace {

// Whether there is AMX with bfloat16, and Linux grants its registers to this process (Documentation/arch/x86/xstate.rst).
bool may_use_amx() {
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  constexpr long request_permission = 0x1023, tile_data = 18;
  unsigned a, b, c, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & tile) &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace
#endif

int available(const Isa** found, int most) {
  int n = 0;
#ifdef FASTRNN_X86
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#ifdef FASTRNN_AMX
  if (n < most && avx512 && may_use_amx()) {
    static const Isa amx = with_amx(tables::avx512);
    found[n++] = &amx;
  }
#endif
  if (n < most && avx512) found[n++] = &tables::avx512;
  if (n < most && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &tables::avx2;
#endif
  if (n < most) found[n++] = &tables::baseline;
  return n;
}

}  // namespace fastrnn
