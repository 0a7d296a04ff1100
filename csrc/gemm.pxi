# The only door to BLAS: row-major products of float or double.

from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv


cdef inline void gemm(
    bint trans_a, bint trans_b, long M, long N, long K,
    const floating* A, long lda, const floating* B, long ldb, bint add, floating* C, long ldc,
) noexcept nogil:
    """C (M, N) = op(A) op(B), or += with ``add``; op(A) is (M, K), op(B) (K, N); ld counts elements per stored row."""
    cdef int m = <int>M, n = <int>N, k = <int>K, la = <int>lda, lb = <int>ldb, lc = <int>ldc, one = 1
    cdef floating alpha = 1, beta = 1 if add else 0
    # column-major BLAS sees every matrix transposed: C' = op(B)' op(A)'
    cdef char ta = b"T" if trans_a else b"N"
    cdef char tb = b"T" if trans_b else b"N"
    if M == 0 or N == 0:
        return
    if M == 1 and not trans_a:
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
