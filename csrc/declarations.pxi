# The C++ side as Cython sees it: csrc/simd.hpp and csrc/scan.hpp, where every field is explained.

cdef extern from "simd.hpp" namespace "fastrnn" nogil:
    enum:
        ACCUMULATE
    cdef cppclass Function[T]:
        int kind
        T alpha, beta
    cdef cppclass Rules[T]:
        Function[T] activation, recurrent, output
        T clip
        const T* p
    cdef cppclass Product[T]:
        long K, columns
        const T* a
        long row_stride, k_stride
        const T* panels
        bint narrow
        const T* bias
        T* out
        long ld
        bint add
        const int64_t* a_rows
        const int64_t* out_rows
        long matrix_ld, gap_at, gap
        const Ahead[T]* next
    cdef cppclass Ahead[T]:
        pass
    cdef cppclass Forward[T]:
        bint backwards
        Ahead[T] next
        long K
        const T* a
        const T* panels
        bint narrow
        const T* sums
        long sums_ld
        const Product[T]* input
    cdef cppclass Backward[T]:
        bint backwards
        long H, K
        const T* a
        long a_ld
        const T* panels
        bint narrow
        const T* extra
        bint read_carry
        const T* dy
        T* total
        bint fetched
        Ahead[T] next
    cdef cppclass ColumnSums[T]:
        long R
        const T* a
        long lda
        const T* b
        long ldb
        T* sums
        const int64_t* a_rows
    cdef cppclass Outer[T]:
        long R, columns
        const T* b
        long ldb
        const T* a[2]
        long M[2]
        T* out[2]
        long ld
        bint transposed, add, exchanged
        T* sums
        const int64_t* a_rows[2]
        const int64_t* b_rows
    enum:
        MAX_OUTERS
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
        long lanes, packed_rows
        long (*first_unit)(long, long, bint, int, int) noexcept nogil
        bint (*narrow)(long, long) noexcept nogil
        long (*packed_size)(long, long, long) noexcept nogil
        void (*pack)(T*, const T*, long, long, long, bint, long, long, long, long, long) noexcept nogil
        void (*forward)(int, const Forward[T]*, long, long, long, long) noexcept nogil
        void (*backward)(int, const Backward[T]*, long, long, long, long) noexcept nogil
        void (*product)(const Product[T]*, long, long, long, long) noexcept nogil
        long (*back_size)(long, long) noexcept nogil
        void (*pack_back)(T*, const T*, long, long, long, long, long, long) noexcept nogil
        void (*product_back)(const Product[T]*, long, long, long, long, T*) noexcept nogil
        long (*gap_unit)(long, long) noexcept nogil
        void (*outer)(const Outer[T]*, int, int, int, T*) noexcept nogil
        long (*outer_scratch)(long, long, long) noexcept nogil
        void (*column_sums)(const ColumnSums[T]*, long, long) noexcept nogil
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
        long (*read_loop)(const float*, long, long) noexcept nogil
    int available(const Isa** tables, int most)

cdef extern from "program.hpp" namespace "fastrnn" nogil:
    cdef cppclass Cell:
        int name
        bint diagonal, full, coupled, projected, normed, any, carries, has_inner, gates_in_inference
        int gates, saved, blocks, norms
    enum:
        NOTHING, X, H_PREV, H_NEW, C_PREV, DA, DU, DA_NEXT, DINNER, TOTAL, PLACES
    enum:
        STEP "fastrnn::Op::STEP"
        ROWS "fastrnn::Op::ROWS"
    cdef cppclass Matrix[T]:
        T* at
        long ld
        bint transposed
    cdef cppclass Weight[T]:
        const T* source
        long ld
        bint transposed
        long K, units, gates
        bint back, narrow, unpacked
        T* packed
        const T* right()
        long matrix_ld()
    cdef cppclass Op:
        int action
        int what, weight, input
        int left, left_block, out, out_block
        bint add
    cdef cppclass Gradient[T]:
        int b, block
        long columns
        int left[2]
        Matrix[T]* out
        T* sums
        bint transposed()
    cdef cppclass Reduction[T]:
        int a, a_block, b, b_block
        long columns
        T* sums
    cdef cppclass Params[T]:
        Matrix[T] W, U, P, W_proj
        T* b
        T* b_rec
        T* p
        T* gain_W
        T* gain_U
        T* gain_c
        T* bias_c
    cdef cppclass At[T]:
        T* at
        long ld
        const int64_t* rows
    cdef cppclass Share:
        long first, last
        const int64_t* numbers
        const int64_t* places
    cdef cppclass Segment:
        int gate, block, gates, gap_after
    cdef cppclass Scan[T]:
        Cell cell
        Rules[T] rules
        const Kernels[T]* kernels
        bint blas, packed, own_weights, interleaved, backwards, by_rows, apart, keep, add, stream
        int threads
        long steps, N, D, H, S, chunk, new_h_ld, new_c_ld
        const int64_t* start
        const int64_t* rows
        Params[T] params, grads
        const int64_t* codes
        const T* x
        const T* h0
        const T* c0
        const T* mask
        const T* new_h
        const T* new_c
        T* y
        T* gates
        T* c
        T* c_new
        T* x_hat
        T* u_hat
        T* x_scale
        T* u_scale
        const T* dy
        const T* dcells
        T* dh
        T* dc
        T* dx
        T* out
        const int64_t* x_at
        const int64_t* y_at
        const int64_t* dy_at
        const int64_t* dx_at
        const int64_t* out_at
        bint dy_apart
        int segments, ops, n_weights, gradients, reductions, late_gradients
        Segment* segment
        Op* op
        Weight[T]* weight
        Gradient[T]* gradient
        Reduction[T]* reduction
        T* pre
        T* h
        T* dy_rows
        T* du
        T* edge
        T* left
        T* c_prev
        T* inner
        T* raw
        T* scale
        T* chunk_scale
        T* squashed
        T* c_hat
        T* dsquashed
        T* total
        T* dinner
        T* dc_last
        T* product
        T* outer
        int64_t* numbers
        int64_t* places
        int64_t* turned
    void describe_cell(Cell*)
    void convert[T](const Rules[double]&, Rules[T]*)
    void compose[T](Scan[T]*, bint backward)

cdef extern from "places.hpp" namespace "fastrnn" nogil:
    void begin[T](const Scan[T]&, At[T]*, Forward[T]*)
    void begin_back "fastrnn::begin"[T](const Scan[T]&, At[T]*, Backward[T]*)
    void find[T](const Scan[T]&, long t, long row, At[T]*, Forward[T]*)
    void find_back "fastrnn::find"[T](
        const Scan[T]&, long t, long low, long row_of_pre, const T* dy, At[T]*, Backward[T]*)
    void set_projection[T](Product[T]*, const Scan[T]&, int p, long low)
    void set_step_product[T](Product[T]*, const Scan[T]&, const Weight[T]&, const T* left)
    const T* dy_of[T](const Scan[T]&, long now, long low)
    Ahead[T] ahead_of[T](const Scan[T]&, long t, long row0, long row1)
    Ahead[T] ahead_back "fastrnn::ahead_of"[T](const Scan[T]&, long t, const T* dy, long row0, long row1)
    Ahead[T] ahead_of_weights "fastrnn::ahead_of"[T](const Scan[T]&, long low, long n, const T* lefts)
    T* lefts_in_y[T](const Scan[T]&, long t0, long t1)
    void find_chunk[T](const Scan[T]&, const Share&, long low, T* lefts, At[T]*)
    void work_on_rows[T](const Scan[T]&, const Op&, const At[T]*, long now, long row0, long row1)
    void normalise_projection[T](const Scan[T]&, bint back, long low, long row0, long row1)

cdef extern from "lookup.hpp" namespace "fastrnn" nogil:
    void add_rows_by_number "fastrnn::add_rows"[T](
        const Kernels[T]&, const T* rows, const int64_t* numbers, long rows_ld, const int64_t* codes, long n, T* out,
        long out_ld, long columns)
    void look_up[T](const Scan[T]&, long low, const Share&)
    void add_to_table[T](const Scan[T]&, const Share&, long low, long n, long column0, long column1)

cdef extern from "scan.hpp" namespace "fastrnn" nogil:
    cdef cppclass Arena:
        char* base
        size_t used
        void take[T](T*& piece, long n)
        void take_if[T](bint wanted, T*& piece, long n)
    T* offset "fastrnn::at"[T](T* array, long offset)
    cdef cppclass Barrier:
        void wait(int)
    int team_size()
    long l2_bytes()
    bint built_with_openmp()

cdef extern from "seats.hpp" namespace "fastrnn" nogil:
    cdef cppclass Seats:
        void take(int thread)
