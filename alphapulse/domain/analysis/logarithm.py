"""The natural logarithm in plain arithmetic: the same bits on any machine.

A C library's ``log`` may differ in the last bit from one version or processor to the next (glibc picks a
variant with fused multiplication where there is one), and a feature must not. This one uses additions,
multiplications and one division, each of which IEEE 754 rounds in one way only, and is within one unit in
the last place.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece, piece
from alphapulse.domain.analysis.fields import Floats

_ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
# ln 2 in two parts: the first has 42 bits, so that its product with any exponent is exact.
_LN2_HIGH = 3_048_493_539_143 / 2.0**42
_LN2_LOW = 5.497923018708371e-14
_SMALLEST = 2.0**-1022  # below it the bits do not hold the exponent


@inner_piece
def log(x: float) -> float:
    """ln ``x``; NaN for what is not positive or not finite, and for the subnormal numbers.

    ``x`` is m * 2**k with m from sqrt(1/2) to sqrt(2), f = m - 1 and s = f / (2 + f); then
    ln m = 2 atanh(s) = f - f**2 / 2 + s * (f**2 / 2 + R) with R = 2/3 s**2 + 2/5 s**4 + 2/7 s**6 …
    The sum up to s**20 leaves out less than 2**-63 of it. The arrangement keeps the rounding of what is
    large out of the result; its error is analysed in the comments of Sun's fdlibm (e_log.c, 1993).
    """
    bits = np.float64(x).view(np.int64)
    k = (bits - _ROOT_HALF) >> 52
    f = np.int64(bits - (k << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = 2 / 17 + z * (2 / 19 + z * (2 / 21))
    r = 2 / 11 + z * (2 / 13 + z * (2 / 15 + z * r))
    r = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * r))))
    half = 0.5 * f * f
    value = k * _LN2_HIGH - ((half - (s * (half + r) + k * _LN2_LOW)) - f)
    return value if x >= _SMALLEST and x < np.inf else np.nan


@piece
def logs(x: Floats, into: Floats) -> None:
    """``into[i]`` = ln ``x[i]``."""
    for i in range(x.shape[0]):
        into[i] = log(x[i])
