"""Compare the compiled sigmoid and tanh with float64 at every one of the 2**32 float32 numbers.

    python tests/scripts/sweep_math.py [--isa avx2 ...] [--part K/N]

Prints the largest error in units in the last place and where it is, per instruction set and function; exits with 1
where one exceeds 2. Takes some minutes for an instruction set; --part 1/8 does the first eighth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import fastrnn
from fastrnn import kernels

sys.path.insert(0, str(Path(__file__).parents[1]))
from ulps import LIMITS, exact_values, ulps

MOST_ULPS = 2.0
CHUNK = 2**20


def part(text: str) -> tuple[int, int]:
    """First and last chunk of part K of N, from "K/N"."""
    k, n = map(int, text.split("/"))
    if not 1 <= k <= n:
        raise ValueError(f"part must be K/N with 1 <= K <= N, got {text!r}")
    chunks = 2**32 // CHUNK
    return chunks * (k - 1) // n, chunks * k // n


def main() -> int:
    """Run the sweep; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", nargs="+", default=fastrnn.available_isas(), choices=fastrnn.available_isas())
    parser.add_argument("--part", type=part, default="1/1", metavar="K/N")
    arguments = parser.parse_args()
    worst = {(isa, name): (-1.0, np.float32(0)) for isa in arguments.isa for name in LIMITS}
    first, last = arguments.part
    for chunk in range(first, last):
        x = (np.arange(CHUNK, dtype=np.uint32) + np.uint32(chunk * CHUNK)).view(np.float32)
        for name in LIMITS:
            exact = exact_values(name, x, np.float64)
            for isa in arguments.isa:
                fastrnn.set_isa(isa)
                errors = ulps(getattr(kernels, name)(x), exact)
                at = int(np.argmax(errors))
                worst[isa, name] = max(worst[isa, name], (float(errors[at]), x[at]), key=lambda found: found[0])
    print(f"{(last - first) * CHUNK:,} numbers of 4,294,967,296")
    for (isa, name), (error, x) in worst.items():
        print(f"{isa:<9}{name:<8} {error:.3f} ulp at {float(x).hex()} = {x!r}")
    return int(max(error for error, _ in worst.values()) > MOST_ULPS)


if __name__ == "__main__":
    sys.exit(main())
