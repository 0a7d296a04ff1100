# What the machine can do, for bench/.


def fma_peak():
    """Float32 GFLOP/s of fused multiply-adds that touch no memory, on one core, in the instruction set in use, over
    about a millisecond."""
    cdef long operations
    begin = perf_counter()
    with nogil:
        operations = _isa.fma_loop(200_000)
    return operations / (perf_counter() - begin) / 1e9


def read_peak(long size):
    """GB/s at which one core reads ``size`` bytes, 4096 or more, again and again, to and fro as steps do weights: over
    about a millisecond."""
    cdef Block block = Block(size)
    cdef long bytes
    memset(block.start, 0, size)
    with nogil:
        _isa.read_loop(<const float*>block.start, size // 4, 2)
    begin = perf_counter()
    with nogil:
        bytes = _isa.read_loop(<const float*>block.start, size // 4, 1 + 100_000_000 // size)
    return bytes / (perf_counter() - begin) / 1e9


def barrier_seconds():
    """Seconds that all threads take to meet at a barrier, as those that share a step do: the mean of 4 000 times."""
    cdef Barrier barrier
    cdef Seats seats
    cdef int threads = 1 if _has_forked_team else _threads, _
    use_team(threads)
    begin = perf_counter()
    seats.take(0)
    with nogil, parallel(num_threads=threads):
        seats.take(threadid())
        for _ in range(4_000):
            barrier.wait(team_size())
    return (perf_counter() - begin) / 4_000
