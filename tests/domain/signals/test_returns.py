"""How alike two markets move, as of a position."""

import numpy as np
import pytest

from alphapulse.domain.analysis.closing import Closing, close_bars
from alphapulse.domain.signals.returns import LEAST_RETURNS, RETURNS, Returns
from tests.domain.signals.engine_world import bar_events

COUNT = 400


def told(skip: int = 0) -> tuple[Returns, np.ndarray, np.ndarray]:
    """Two markets, the second one half made of the first; of it the first ``skip`` bars are missing."""
    rng = np.random.default_rng(3)
    moves = rng.normal(0, 1e-3, (2, COUNT))
    moves[1] = 0.5 * moves[0] + moves[1]
    closes = np.round(100 * np.exp(np.cumsum(moves, axis=1)), 4)
    returns = Returns(1)
    for n, name in enumerate(("A", "B")):
        events = bar_events(name, closes[n], np.full(COUNT, 1_000.0), size=10)
        numbered = list(enumerate(events, 1))[skip // 10 if n else 0 :]
        _, closed = close_bars(f"test:{name}", Closing(), numbered)
        returns.closed(f"test:{name}", closed)
    return returns, closes[0], closes[1]


def oracle(a: np.ndarray, b: np.ndarray) -> float:
    last = slice(-RETURNS - 1, None)
    return float(np.corrcoef(np.diff(np.log(a[last])), np.diff(np.log(b[last])))[0, 1])


@pytest.mark.parametrize("skip", [0, 100])
def test_the_correlation_is_that_of_the_last_common_returns(skip: int) -> None:
    returns, a, b = told(skip)
    assert returns.correlation("test:A", "test:B", 40) == pytest.approx(oracle(a, b), abs=1e-12)
    assert dict(returns.alike("test:A", 40)) == {"test:B": pytest.approx(oracle(a, b))}


def test_as_of_a_position_later_bars_do_not_show() -> None:
    returns, a, b = told()
    before = returns.correlation("test:A", "test:B", 20)
    assert before == pytest.approx(oracle(a[:200], b[:200]), abs=1e-12)
    assert returns.correlation("test:A", "test:B", 40) != before
    assert returns.correlation("test:A", "test:B", 20) == before


def test_too_few_common_returns_are_unknown() -> None:
    returns, _, _ = told(skip=COUNT - 20)
    assert LEAST_RETURNS > 20
    assert "test:B" not in returns.alike("test:A", 40)
    assert "test:C" not in returns.alike("test:A", 40)
    assert len(returns.alike("test:A", 40)) == 0


def test_what_is_settled_is_forgotten_beyond_what_is_needed_and_bytes_bring_it_back() -> None:
    returns, a, b = told()
    returns.settled = 40
    again = Returns(1)
    again.restore(returns.packed())
    assert len(again.bars["test:A"][0]) == 2 * RETURNS
    assert again.correlation("test:A", "test:B", 40) == pytest.approx(oracle(a, b), abs=1e-12)
    again.restore(b"")
    assert again.bars == {}
