# The fused kernels over flat arrays: optimisers, norm, softmax cross-entropy. Same functions, arguments and meaning as
# fastrnn/reference_flat.py. Threads take shares of elements or of rows; no sum crosses a share.

cdef extern from *:
    """
    // Elements that make a thread's share worth while: of an update, which memory bounds, and of exponentials.
    static const long UPDATE_PER_THREAD = 64 * 1024;
    static const long EXPONENTIALS_PER_THREAD = 16 * 1024;
    // Elements that are summed in one go: part of the order of the sum, so never to depend on threads.
    static const long NORM_BLOCK = 16 * 1024;
    // Shares of elements end on multiples of this: whole cache lines.
    static const long SHARE_UNIT = 16;
    """
    const long UPDATE_PER_THREAD, EXPONENTIALS_PER_THREAD, NORM_BLOCK, SHARE_UNIT


cdef inline const Kernels[floating]* table(floating* of_type) noexcept nogil:
    """The kernels of a type in the instruction set in use."""
    if floating is float:
        return &_isa.f32
    else:
        return &_isa.f64


cdef int team(long n, long per_thread) noexcept:
    """Threads for n things; called with the GIL, before they start."""
    if _has_forked_team or not built_with_openmp():
        return 1
    cdef int threads = <int>max(1, min(_threads, n // per_thread))
    use_team(threads)
    return threads


cdef void update_share(
    const Kernels[floating]* kernels, int rule, const Step* step, const Update[floating]* u, long n, int thread,
    int threads,
) noexcept nogil:
    kernels.update(rule, step, u, split(n, SHARE_UNIT, thread, threads), split(n, SHARE_UNIT, thread + 1, threads))


cdef void update_of(
    floating* t, int rule, const Step* step, cnp.ndarray params, cnp.ndarray grads, cnp.ndarray m, cnp.ndarray v,
) except *:
    cdef const Kernels[floating]* kernels = table(t)
    cdef Update[floating] u
    cdef long n = params.shape[0]
    cdef int threads = team(n, UPDATE_PER_THREAD)
    cdef Seats seats
    u.params, u.grads = <floating*>memory(params), <floating*>memory(grads)
    u.m, u.v = <floating*>memory(m), <floating*>memory(v)
    with nogil:
        if threads == 1:
            update_share(kernels, rule, step, &u, n, 0, 1)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                update_share(kernels, rule, step, &u, n, threadid(), team_size())


cdef void update(int rule, const Step* step, params, grads, m, v) except *:
    if params.dtype == np.float32:
        update_of[float](<float*>NULL, rule, step, params, grads, m, v)
    else:
        update_of[double](<double*>NULL, rule, step, params, grads, m, v)


def adam(params, grads, m, v, rate, correction, beta1, beta2, eps, decay, scale):
    """One step of Adam; see `fastrnn.reference_flat.adam`."""
    cdef Step step
    step.rate, step.correction, step.eps, step.decay, step.scale = rate, correction, eps, decay, scale
    step.new_m, step.new_v = 1 - beta1, 1 - beta2
    update(ADAM, &step, params, grads, m, v)


def sgd(params, grads, m, rate, momentum, nesterov, scale):
    """One step of gradient descent; see `fastrnn.reference_flat.sgd`."""
    cdef Step step
    step.rate, step.momentum, step.nesterov, step.scale = rate, momentum, nesterov, scale
    update(SGD, &step, params, grads, m, None)


def rmsprop(params, grads, v, rate, rho, eps, scale):
    """One step of RMSprop; see `fastrnn.reference_flat.rmsprop`."""
    cdef Step step
    step.rate, step.new_v, step.eps, step.scale = rate, 1 - rho, eps, scale
    update(RMSPROP, &step, params, grads, None, v)


cdef void square_blocks(
    const Kernels[floating]* kernels, const floating* x, long n, double* sums, long first, long last,
) noexcept nogil:
    cdef long block
    for block in range(first, last):
        sums[block] = kernels.sum_of_squares(x + block * NORM_BLOCK, min(NORM_BLOCK, n - block * NORM_BLOCK))


cdef double squared_norm_of(floating* t, cnp.ndarray array) except? -1:
    cdef const Kernels[floating]* kernels = table(t)
    cdef const floating* x = <floating*>memory(array)
    cdef long n = array.shape[0], blocks = (n + NORM_BLOCK - 1) // NORM_BLOCK, block
    cdef cnp.ndarray partial = np.empty(blocks)
    cdef double* sums = <double*>cnp.PyArray_DATA(partial)
    cdef int threads = team(n, UPDATE_PER_THREAD)
    cdef Seats seats
    cdef double total = 0
    with nogil:
        if threads == 1:
            square_blocks(kernels, x, n, sums, 0, blocks)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                square_blocks(kernels, x, n, sums, blocks * threadid() // team_size(),
                              blocks * (threadid() + 1) // team_size())
        for block in range(blocks):
            total += sums[block]
    return total


def squared_norm(x):
    """Sum of squares in float64; see `fastrnn.reference_flat.squared_norm`."""
    if x.dtype == np.float32:
        return squared_norm_of[float](<float*>NULL, x)
    return squared_norm_of[double](<double*>NULL, x)


cdef double cross_entropy_of(
    floating* t, cnp.ndarray logits, cnp.ndarray targets, cnp.ndarray weights, double scale, cnp.ndarray dlogits,
) except? -1:
    cdef const Kernels[floating]* kernels = table(t)
    cdef CrossEntropy[floating] s
    cdef long R = logits.shape[0], row
    cdef cnp.ndarray losses = np.empty(R)
    cdef int threads = team(R * logits.shape[1], EXPONENTIALS_PER_THREAD)
    cdef Seats seats
    cdef double total = 0
    s.V, s.scale, s.logits, s.dlogits = logits.shape[1], scale, <floating*>memory(logits), <floating*>memory(dlogits)
    s.targets = <int64_t*>cnp.PyArray_DATA(targets)
    s.weights, s.losses = <double*>memory(weights), <double*>memory(losses)
    with nogil:
        if threads == 1:
            kernels.cross_entropy(&s, 0, R)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                kernels.cross_entropy(&s, R * threadid() // team_size(), R * (threadid() + 1) // team_size())
        for row in range(R):
            total += s.losses[row]
    return scale * total


def softmax_cross_entropy(logits, targets, weights, scale, dlogits):
    """Loss, and its gradient into dlogits; see `fastrnn.reference_flat.softmax_cross_entropy`."""
    if logits.dtype == np.float32:
        return cross_entropy_of[float](<float*>NULL, logits, targets, weights, scale, dlogits)
    return cross_entropy_of[double](<double*>NULL, logits, targets, weights, scale, dlogits)
