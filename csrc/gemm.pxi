# The only door to BLAS: row-major products of float or double.
#
# SciPy's BLAS is looked up when it is first wanted: the packed kernels do without it, and to import it takes several
# times as long as all else of fastrnn.

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.limits cimport INT_MAX

ctypedef void (*Sgemm)(
    char*, char*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*) noexcept nogil
ctypedef void (*Dgemm)(
    char*, char*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*) noexcept nogil
ctypedef void (*Sgemv)(char*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*) noexcept nogil
ctypedef void (*Dgemv)(char*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*) noexcept nogil

cdef Sgemm sgemm = NULL
cdef Dgemm dgemm = NULL
cdef Sgemv sgemv = NULL
cdef Dgemv dgemv = NULL


cdef void* function_of(module, str name) except NULL:
    """A function that a Cython module exports, which is to take its sizes as int."""
    capsule = module.__pyx_capi__[name]
    cdef const char* signature = PyCapsule_GetName(capsule)
    if b", int *, " not in <bytes>signature:
        raise ImportError(f"{module.__name__}.{name} must take sizes as int, got {(<bytes>signature).decode()}")
    return PyCapsule_GetPointer(capsule, signature)


cdef int load_blas() except -1:
    """Find SciPy's BLAS, before the first product with it."""
    global sgemm, dgemm, sgemv, dgemv
    if dgemv != NULL:
        return 0
    from scipy.linalg import cython_blas

    sgemm, dgemm = <Sgemm>function_of(cython_blas, "sgemm"), <Dgemm>function_of(cython_blas, "dgemm")
    sgemv, dgemv = <Sgemv>function_of(cython_blas, "sgemv"), <Dgemv>function_of(cython_blas, "dgemv")
    return 0


cdef inline void gemm(
    bint trans_a, bint trans_b, long M, long N, long K,
    const floating* A, long lda, const floating* B, long ldb, bint add, floating* C, long ldc,
) noexcept nogil:
    """C (M, N) = op(A) op(B), or += with ``add``; op(A) is (M, K), op(B) (K, N); ld counts elements per stored row."""
    if max(M, max(N, K)) > INT_MAX or max(lda, max(ldb, ldc)) > INT_MAX:
        gemm_in_pieces(trans_a, trans_b, M, N, K, A, lda, B, ldb, add, C, ldc)
    else:
        gemm_of_ints(trans_a, trans_b, <int>M, <int>N, <int>K, A, <int>lda, B, <int>ldb, add, C, <int>ldc)


cdef void gemm_in_pieces(
    bint trans_a, bint trans_b, long M, long N, long K,
    const floating* A, long lda, const floating* B, long ldb, bint add, floating* C, long ldc,
) noexcept nogil:
    """`gemm` of sizes beyond an int. Where the rows of a matrix lie that far apart, a piece has one of them."""
    cdef long m = 1 << 30, n = 1 << 30, k = 1 << 30, i = 0, j, p
    cdef const floating* a
    cdef const floating* b
    if ldc > INT_MAX or (lda > INT_MAX and not trans_a):
        m = 1
    if ldb > INT_MAX and trans_b:
        n = 1
    if (lda > INT_MAX and trans_a) or (ldb > INT_MAX and not trans_b):
        k = 1
    while i < M:
        j = 0
        while j < N:
            p = 0
            while p == 0 or p < K:
                a = A + (p * lda + i if trans_a else i * lda + p)
                b = B + (j * ldb + p if trans_b else p * ldb + j)
                gemm_of_ints(trans_a, trans_b, <int>min(m, M - i), <int>min(n, N - j), <int>min(k, K - p),
                             a, <int>min(lda, INT_MAX), b, <int>min(ldb, INT_MAX), add or p > 0, C + i * ldc + j,
                             <int>min(ldc, INT_MAX))
                p += k
            j += n
        i += m


cdef inline void gemm_of_ints(
    bint trans_a, bint trans_b, int m, int n, int k,
    const floating* A, int la, const floating* B, int lb, bint add, floating* C, int lc,
) noexcept nogil:
    cdef int one = 1
    cdef floating alpha = 1, beta = 1 if add else 0
    # column-major BLAS sees every matrix transposed: C' = op(B)' op(A)'
    cdef char ta = b"T" if trans_a else b"N"
    cdef char tb = b"T" if trans_b else b"N"
    if m == 0 or n == 0:
        return
    if m == 1 and not trans_a:
        # one row: gemm would pack the whole matrix for it
        if floating is float:
            if trans_b:
                sgemv(&tb, &k, &n, &alpha, <float*>B, &lb, <float*>A, &one, &beta, C, &one)
            else:
                sgemv(&tb, &n, &k, &alpha, <float*>B, &lb, <float*>A, &one, &beta, C, &one)
        else:
            if trans_b:
                dgemv(&tb, &k, &n, &alpha, <double*>B, &lb, <double*>A, &one, &beta, C, &one)
            else:
                dgemv(&tb, &n, &k, &alpha, <double*>B, &lb, <double*>A, &one, &beta, C, &one)
        return
    if floating is float:
        sgemm(&tb, &ta, &n, &m, &k, &alpha, <float*>B, &lb, <float*>A, &la, &beta, C, &lc)
    else:
        dgemm(&tb, &ta, &n, &m, &k, &alpha, <double*>B, &lb, <double*>A, &la, &beta, C, &lc)
