"""Recalibration: outcomes that overlap count for what they are worth."""

import numpy as np

from alphapulse.domain.decision.decisions import CalibrationFitted
from alphapulse.domain.signals.engine import Engine
from alphapulse.domain.signals.engine_fit import fit
from tests.domain.signals.engine_world import MINUTE, START, strategy, world


def fitted(times_over: int) -> CalibrationFitted:
    """On 200 outcomes that do not overlap, each there ``times_over``: surer ones won more often."""
    engine = Engine(strategy())
    engine.advance(world(markets=1, bars=400, size=50)[:1])  # the market is known, nothing is resolved
    state = engine.state()
    rng = np.random.default_rng(1)
    score = np.repeat(rng.normal(0.0, 2.0, 200), times_over)
    won = np.repeat(rng.random(200), times_over) < 1 / (1 + np.exp(-score))
    start = START + np.repeat(np.arange(200), times_over) * 10 * MINUTE
    numbers = np.stack([np.zeros_like(start), start, start + 9 * MINUTE, np.ones_like(start), start], axis=1)
    state.history.take(numbers.astype(np.int64), np.stack([score, np.zeros_like(score), won], axis=1))
    return fit(state, strategy(), (1,), ("a", "b", "c"), 0, 7)


def test_the_same_outcomes_over_and_over_teach_no_more_than_once() -> None:
    once, often = fitted(1), fitted(8)
    assert (once.candidates, often.candidates) == (200, 1_600)
    assert often.effective == once.effective
    assert once.method == often.method != "base"
    assert np.allclose(often.x, once.x, atol=1e-9)
    assert np.allclose(often.p, once.p, atol=1e-9)
