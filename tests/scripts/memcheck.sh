#!/usr/bin/env bash
# valgrind's memcheck over the compiled kernels: every cell with every option, forward and backward, both dtypes, packed
# products and BLAS, odd sizes. Fails on an error in a stack that passes through the kernels; what Python or BLAS do
# alone does not count.
#
#   tests/scripts/memcheck.sh [PYTHON]
#
# Runs the AVX2 table, since valgrind has no AVX-512.
set -euo pipefail
python=${1:-python}
here=$(cd "$(dirname "$0")" && pwd)
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
export PYTHONMALLOC=malloc FASTRNN_ISA=avx2 FASTRNN_NUM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell
export NPY_DISABLE_CPU_FEATURES="AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4"

valgrind --tool=memcheck --leak-check=full --num-callers=30 --error-limit=no --xml=yes --xml-file="$log/memcheck.xml" \
  "$python" -W ignore "$here/small_scans.py" 2> "$log/valgrind.txt" || { tail -20 "$log/valgrind.txt"; exit 1; }
"$python" "$here/errors_in_kernels.py" "$log/memcheck.xml"
