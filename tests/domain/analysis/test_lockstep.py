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


def in_pieces(lengths, cuts, chunk, block):
    """Feed the slots in turn, a piece of random length each, and gather what comes out."""
    every = [bars(n, seed) for seed, n in enumerate(lengths)]
    lockstep = Lockstep(PLAN, len(every), chunk=chunk, block=block)
    found = [[] for _ in every]
    at = [0] * len(every)

    def gather(final):
        for slot, out in lockstep.outputs(final=final):
            assert len(out) <= block
            found[slot].append(out.copy())

    for size in cuts:
        for slot, values in enumerate(every):
            lockstep.push(slot, values[:, at[slot] : at[slot] + size])
            at[slot] += size
        gather(final=False)
        assert all(lockstep.waiting(slot) < chunk for slot in range(len(every)))
    for slot, values in enumerate(every):
        lockstep.push(slot, values[:, at[slot] :])
    gather(final=True)
    return every, [np.concatenate(f) if f else np.empty((0, len(PLAN.columns))) for f in found]


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 25), max_size=5),
    chunk=st.sampled_from([1, 4, 16]),
    block=st.sampled_from([16, 32]),
)
@settings(max_examples=40)
def test_side_by_side_is_one_by_one(lengths, cuts, chunk, block):
    every, found = in_pieces(lengths, cuts, chunk, block)
    for values, out in zip(every, found, strict=True):
        alone = compute(SPECS, values)
        assert np.ascontiguousarray(out.T).tobytes() == np.ascontiguousarray(alone).tobytes()
