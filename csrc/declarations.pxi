# The C++ side as Cython sees it: csrc/simd.hpp and csrc/scan.hpp, where every field is explained.

cdef extern from "simd.hpp" namespace "fastrnn" nogil:
    enum Epilogue:
        ACCUMULATE
    cdef cppclass Forward[T]:
        long H, K
        const T* a
        const T* panels
        const T* pre
        long pre_ld
        T* gates
        long gates_ld
        const T* h_prev
        const T* c_prev
        T* h
        T* c
        T* rh
    cdef cppclass Backward[T]:
        long H, K
        const T* a
        long a_ld
        const T* panels
        bint read_carry
        const T* dy
        T* dh
        T* dc
        const T* gates
        long gates_ld
        const T* y
        const T* h_prev
        const T* c
        const T* c_prev
        T* da
        long da_ld
        T* rh
    cdef cppclass Product[T]:
        long K, columns
        const T* a
        long row_stride, k_stride
        const T* panels
        const T* bias
        T* out
        long ld
        bint add
    cdef cppclass Outer[T]:
        long R, columns
        const T* b
        long ldb
        const T* a[2]
        long M[2]
        T* out[2]
        long ld
        T* sums
    enum Rule:
        ADAM, SGD, RMSPROP
    cdef cppclass Step:
        double rate, scale, new_m, new_v, momentum, correction, eps, decay
        bint nesterov
    cdef cppclass Update[T]:
        T* params
        const T* grads
        T* m
        T* v
    cdef cppclass CrossEntropy[T]:
        long V
        const T* logits
        const int64_t* targets
        const double* weights
        double scale
        T* dlogits
        double* losses
    cdef cppclass Kernels[T]:
        long lanes
        long (*panel_units)(long) noexcept nogil
        long (*packed_size)(long, long, long) noexcept nogil
        void (*pack)(T*, const T*, long, long, long, long, long, long, long, long) noexcept nogil
        void (*forward)(int, const Forward[T]*, long, long, long, long) noexcept nogil
        void (*backward)(int, const Backward[T]*, long, long, long, long) noexcept nogil
        void (*product)(const Product[T]*, long, long, long, long) noexcept nogil
        void (*outer)(const Outer[T]*, long, long, T*) noexcept nogil
        long (*outer_scratch)(long, long) noexcept nogil
        void (*sigmoid)(const T*, T*, long) noexcept nogil
        void (*tanh)(const T*, T*, long) noexcept nogil
        void (*update)(int, const Step*, const Update[T]*, long, long) noexcept nogil
        double (*sum_of_squares)(const T*, long) noexcept nogil
        void (*cross_entropy)(const CrossEntropy[T]*, long, long) noexcept nogil
    cdef struct Isa:
        const char* name
        Kernels[float] f32
        Kernels[double] f64
        long (*fma_loop)(long) noexcept nogil
    int available(const Isa** tables, int most)

cdef extern from "scan.hpp" namespace "fastrnn" nogil:
    cdef struct Phase:
        int epilogue
        int gate, gates
        bint reset
    cdef struct Segment:
        int gate, block, gates
    cdef struct Gradient:
        int block, blocks, W, U
        bint reset
    cdef struct Cell:
        const char* name
        int gates, blocks, saved
        bint carry, gates_in_inference
        int b_rec, phases, segments, gradients
        Phase phase[2]
        Segment segment[2]
        Gradient gradient[3]
    const Cell* cell_table(int* count)
    cdef cppclass Scan[T]:
        const Cell* cell
        const Kernels[T]* kernels
        bint blas, packed, by_rows, keep
        int threads
        long steps, N, D, H, chunk
        const int64_t* start
        const int64_t* rows
        const T* x
        const T* W
        const T* U
        const T* b
        const T* b_rec
        const T* h0
        const T* c0
        T* y
        T* gates
        T* c
        const T* dy
        T* dh
        T* dc
        T* dx
        T* dW
        T* dU
        T* db
        T* db_rec
        T* packed_W[2]
        T* packed_U[2]
        T* pre
        T* edge
        T* h_prev
        T* rh
        T* drh
        T* outer
    cdef cppclass Arena:
        char* base
        size_t used
        void take[T](T*& piece, long n)
    T* at[T](T* array, long offset)
    cdef cppclass Barrier:
        void wait(int)
    int team_size()
    bint built_with_openmp()
