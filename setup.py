"""Build the extension: csrc/kernels.pyx, csrc/simd.cpp once per instruction set, and csrc/amx.cpp where that compiles.

FASTRNN_PURE=1 leaves the extension out and installs the NumPy backend alone.
"""

import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

X86 = platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")
ISAS = {"baseline": []}
if X86:
    ISAS["avx2"] = ["-mavx2", "-mfma"]
    ISAS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]

# Linux alone, since a process has to ask for AMX's registers
MAY_HAVE_AMX = sys.platform == "linux" and platform.machine().lower() in ("x86_64", "amd64")
AMX = ["-mamx-tile", "-mamx-bf16"] if MAY_HAVE_AMX else []
OPENMP_PROGRAM = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"
AMX_PROGRAM = "#include <immintrin.h>\nint main() { _tile_zero(0); _tile_dpbf16ps(0, 1, 2); _tile_release(); }\n"

FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-Wno-psabi"]
if "-g" not in os.environ.get("CFLAGS", ""):
    FLAGS.append("-g0")  # Python's own flags ask for debugging information, which makes an extension six times as large

NO_COMPILER = """
fastrnn's compiled kernels need a working C++17 compiler (GCC or Clang) and Python's headers; building them failed:
    {}
Install a compiler (Debian, Ubuntu: g++ python3-dev; Fedora: gcc-c++ python3-devel; macOS: xcode-select --install),
or set FASTRNN_PURE=1 to install the NumPy backend alone, which is slower."""


class BuildExt(build_ext):
    def build_extension(self, ext):
        try:
            if self.compiler.compiler_type == "msvc":
                raise CompileError("MSVC has no vector extensions; use clang or MinGW")
            ext.extra_compile_args = list(FLAGS)
            if self.works(OPENMP_PROGRAM, ["-fopenmp"]):
                ext.extra_compile_args.append("-fopenmp")
                ext.extra_link_args = ["-fopenmp"]
            units = [("csrc/simd.cpp", isa, flags) for isa, flags in ISAS.items()]
            if AMX and self.works(AMX_PROGRAM, AMX):
                units.append(("csrc/amx.cpp", "amx", ISAS["avx512"] + AMX))
                ext.define_macros.append(("FASTRNN_AMX", "1"))
            # side by side: each takes half a minute
            with ThreadPoolExecutor(min(len(units), os.cpu_count() or 1)) as pool:
                for objects in pool.map(partial(self.compile_kernels, ext), units):
                    ext.extra_objects += objects
            super().build_extension(ext)
        except (BaseError, CompileError, LinkError, OSError) as error:
            raise SystemExit(NO_COMPILER.format(error)) from error

    def compile_kernels(self, ext, unit):
        """Objects of a source for one instruction set; a unit is (source, instruction set, flags)."""
        source, isa, flags = unit
        return self.compiler.compile(
            [source],
            output_dir=os.path.join(self.build_temp, isa),
            macros=[("FASTRNN_ISA", isa)],
            extra_preargs=[*FLAGS, *flags],
            depends=ext.depends,
        )

    def works(self, program, flags):
        """Whether a program compiles and links with these flags: without OpenMP the kernels run on one thread."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "program.cpp")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_preargs=flags)
                self.compiler.link_executable(objects, "program", output_dir=folder, extra_preargs=flags)
            except (CompileError, LinkError):
                return False
        return True


def extensions():
    import numpy
    from Cython.Build import cythonize

    kernels = Extension(
        "fastrnn.kernels",
        ["csrc/kernels.pyx", "csrc/dispatch.cpp"],
        depends=sorted(str(path) for path in Path("csrc").iterdir() if path.suffix in (".hpp", ".pxi", ".cpp")),
        include_dirs=["csrc", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")] + ([("FASTRNN_X86", "1")] if X86 else []),
        language="c++",
    )
    return cythonize([kernels])


if os.environ.get("FASTRNN_PURE", "0") not in ("", "0"):
    setup()
else:
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
