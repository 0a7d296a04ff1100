# The vector functions of csrc/vec.hpp on whole arrays, in the instruction set in use.


cdef cnp.ndarray each(cnp.ndarray x, bint is_tanh):
    """A new array of sigmoid or tanh of every element of a float32 or float64 array."""
    cdef cnp.ndarray source = np.asarray(x, order="C")
    cdef cnp.ndarray y = np.empty_like(source)
    cdef long n = source.size
    cdef void* a = cnp.PyArray_DATA(source)
    cdef void* b = cnp.PyArray_DATA(y)
    cdef const Isa* isa = _isa
    if source.dtype not in (np.float32, np.float64):
        raise TypeError(f"x must be float32 or float64, got {source.dtype}")
    cdef bint single = source.dtype == np.float32
    with nogil:
        if single and is_tanh:
            isa.f32.tanh(<const float*>a, <float*>b, n)
        elif single:
            isa.f32.sigmoid(<const float*>a, <float*>b, n)
        elif is_tanh:
            isa.f64.tanh(<const double*>a, <double*>b, n)
        else:
            isa.f64.sigmoid(<const double*>a, <double*>b, n)
    return y


def sigmoid(cnp.ndarray x not None):
    """1 / (1 + exp(-x)), elementwise, as the cells compute it: a new array like x, float32 or float64."""
    return each(x, False)


def tanh(cnp.ndarray x not None):
    """tanh(x), elementwise, as the cells compute it: a new array like x, float32 or float64."""
    return each(x, True)
