# NumPy arrays in memory that the pool keeps for the next call.

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
    return new_rows(cnp.NPY_FLOAT32 if dtype == np.float32 else cnp.NPY_FLOAT64, shape[0], shape[1])


cdef cnp.ndarray new_rows(int kind, long rows, long width):
    """The same for a kind of number that NumPy knows by this number."""
    cdef cnp.npy_intp dims[2]
    dims[0], dims[1] = rows, width
    cdef Block block = Block(dims[0] * dims[1] * (4 if kind == cnp.NPY_FLOAT32 else 8))
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(2, dims, kind, block.start)
    cnp.set_array_base(array, block)
    return array
