"""Our logarithm against exact decimal arithmetic, and against the bits it is to give on any machine."""

import hashlib
from decimal import Context, Decimal

import numpy as np
import pytest

from alphapulse.domain.analysis import logarithm
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.logarithm import log, logs

EXACT = Context(prec=50)


def ours(x: Floats) -> Floats:
    into = np.empty_like(x)
    logs(x, into)
    return into


def samples(count: int) -> Floats:
    """Bar returns, the whole octave around 1, where the exponent changes, and any magnitude."""
    rng = np.random.default_rng(5)
    near = 1 + rng.normal(0, 1, count) * 10.0 ** rng.uniform(-9, -1, count)
    octave = rng.uniform(0.5, 2, count)
    edges = np.sqrt(0.5) * (1 + rng.integers(-50, 50, count) * 2.0**-52) * 2.0 ** rng.integers(-9, 9, count)
    any_size = np.ldexp(rng.uniform(1, 2, count), rng.integers(-1022, 1023, count))
    return np.abs(np.concatenate([near, octave, edges, any_size]))


def test_is_within_one_unit_in_the_last_place() -> None:
    x = samples(1_500)
    for value, found in zip(x.tolist(), ours(x).tolist(), strict=True):
        exact = Decimal(value).ln(EXACT)
        unit = Decimal(float(np.spacing(abs(found))))
        assert abs(EXACT.subtract(Decimal(found), exact)) < unit, value


def test_of_one_is_zero_and_of_powers_of_two_their_exponents_times_ln_2() -> None:
    exponents = np.arange(-1022, 1024)
    assert log(1.0) == 0.0
    ln_2 = Decimal(2).ln(EXACT)
    expected = [float(ln_2 * int(k)) for k in exponents]
    assert ours(np.ldexp(1.0, exponents)).tolist() == pytest.approx(expected, rel=2.3e-16)


def test_the_two_parts_of_ln_2_add_up_and_the_first_is_exact_times_any_exponent() -> None:
    high, low = logarithm._LN2_HIGH, logarithm._LN2_LOW
    whole = EXACT.add(Decimal(high), Decimal(low))
    assert abs(EXACT.subtract(whole, Decimal(2).ln(EXACT))) < Decimal(2) ** -96
    assert all(high * k == EXACT.multiply(Decimal(high), Decimal(k)) for k in (3, 511, 1021, -1021))


@pytest.mark.parametrize("x", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, 2.0**-1023])
def test_of_what_is_not_a_positive_normal_number_is_nan(x: float) -> None:
    assert np.isnan(log(x))


def test_gives_these_bits_on_any_machine() -> None:
    """One known value can be read; the digest of many stands for the rest."""
    assert log(10.0).hex() == float(Decimal(10).ln(EXACT)).hex()
    digest = hashlib.sha256(ours(fixed_samples()).astype("<f8").tobytes()).hexdigest()
    assert digest == "b0fbcad3ef27da24ada4a54a0fd0e928c1426b2128160132c3fc6b4b26a992f6"


def fixed_samples() -> Floats:
    """100,000 numbers by integer arithmetic alone, so that they are the same everywhere."""
    bits = (np.arange(100_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(2)
    kept = np.clip(bits, 0x0010000000000000, 0x7FEFFFFFFFFFFFFF).astype(np.uint64)
    return kept.view(np.float64)


def test_compiled_one_by_one_in_vector_registers_and_interpreted_are_the_same() -> None:
    """The interpreter rounds after each operation: so does what was compiled."""
    x = samples(500)
    interpreted = log.py_func  # type: ignore[attr-defined]
    assert [log(v) for v in x.tolist()] == ours(x).tolist()
    with np.errstate(over="ignore"):
        assert [interpreted(v) for v in x] == ours(x).tolist()
