# NumPy arrays in memory that the pool keeps for the next call.

from cpython.dict cimport PyDict_SetItem

cdef extern from "pool.hpp" namespace "fastrnn" nogil:
    cdef cppclass Pool:
        char* take(size_t bytes, size_t* size)
        void give(char* block, size_t size)
    Pool& pool()


cdef class Block:
    """Memory of the pool; it goes back when nobody refers to it any more."""
    cdef char* start
    cdef size_t size

    def __cinit__(self, size_t bytes):
        self.start = pool().take(bytes, &self.size)
        if self.start == NULL:
            raise MemoryError(f"no memory for an array of {bytes} bytes")

    def __dealloc__(self):
        if self.start != NULL:
            pool().give(self.start, self.size)


def empty(shape, dtype):
    """Like `numpy.empty` for two axes, 64-byte aligned, in recycled memory."""
    return recycled((<cnp.dtype>np.dtype(dtype)).num, 2, shape[0], shape[1])


def new_parts(Py_ssize_t size, cnp.dtype dtype not None, list places, into):
    """See `fastrnn.reference.new_parts`."""
    cdef cnp.ndarray flat = recycled(dtype.num, 1, size, 0), part
    cdef cnp.npy_intp[8] dims
    cdef Py_ssize_t first, width = flat.itemsize
    cdef int k, axes
    cdef tuple shape
    for name, first, _, shape in places:
        axes = len(shape)
        for k in range(axes):
            dims[k] = shape[k]
        part = cnp.PyArray_SimpleNewFromData(axes, dims, dtype.num, <char*>cnp.PyArray_DATA(flat) + first * width)
        cnp.set_array_base(part, flat)
        PyDict_SetItem(into, name, part)
    return flat


cdef cnp.ndarray recycled(int kind, int axes, Py_ssize_t a, Py_ssize_t b):
    """(a,) or (a, b) in recycled memory."""
    return piece_of(Block(a * (b if axes == 2 else 1) * item_size(kind)), 0, kind, axes, a, b)


cdef cnp.ndarray piece_of(Block block, Py_ssize_t first, int kind, int axes, Py_ssize_t a, Py_ssize_t b):
    """(a,) or (a, b) in a block, from byte ``first`` on."""
    cdef cnp.npy_intp[2] dims
    dims[0], dims[1] = a, b
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(axes, dims, kind, block.start + first)
    cnp.set_array_base(array, block)
    return array


cdef Py_ssize_t item_size(int kind) noexcept:
    return 4 if kind == cnp.NPY_FLOAT32 else 8
