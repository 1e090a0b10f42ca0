"""Series side by side give what each gives alone, whatever pieces their bars come in."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import INPUTS
from alphapulse.domain.analysis.lockstep import Lockstep
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.registry import Spec

SPECS = [Spec.parse("sma(5)"), Spec.parse("ema(7)"), Spec.parse("atr(4)")]
PLAN = Plan(SPECS)


def bars(n, seed):
    rng = np.random.default_rng(seed)
    values = np.empty((INPUTS, n))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    spread = np.abs(rng.normal(0, 0.5, n))
    values[0] = np.arange(n)
    values[1], values[2], values[3], values[4] = close, close + spread, close - spread, close
    values[5:] = rng.random((3, n))
    return values


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    cuts=st.lists(st.lists(st.integers(0, 25), min_size=5, max_size=5), max_size=5),
    chunk=st.sampled_from([1, 4, 16]),
    block=st.sampled_from([1, 16, 32]),
)
@settings(max_examples=40)
def test_side_by_side_is_one_by_one_whatever_the_pieces(lengths, cuts, chunk, block):
    every = [bars(n, seed) for seed, n in enumerate(lengths)]
    lockstep = Lockstep(PLAN, len(every), chunk=chunk, block=block)
    found = [[np.empty((len(PLAN.columns), 0))] for _ in every]
    at = [0] * len(every)
    for sizes in [*cuts, [100] * 5]:
        pieces = {i: values[:, at[i] : at[i] + sizes[i]] for i, values in enumerate(every)}
        at = [a + size for a, size in zip(at, sizes, strict=False)]
        for slot, out in lockstep.advance(pieces).items():
            assert out.shape[1] == pieces[slot].shape[1]
            found[slot].append(out)
    for values, out in zip(every, found, strict=True):
        assert np.concatenate(out, axis=1).tobytes() == compute(SPECS, values).tobytes()
