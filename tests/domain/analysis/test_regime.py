"""The regime by rules: its values against other computations, its changes against the rules as written."""

from itertools import groupby

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats
from alphapulse.domain.analysis.indicators.regime import DOWN, NAMES, RANGE, TURBULENCE, UP
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import BadParameter, Spec
from tests.domain.analysis.klines import klines
from tests.domain.analysis.series import ADVERSARIAL, from_ohlcv, walk

SPEC = "regime(past=60,confirm={confirm})"
FIRST = 80  # the first bar with a value: 20 returns and 60 values before


def regime(bars: Floats, *, confirm: int = 3) -> dict[str, Floats]:
    spec = Spec.parse(SPEC.format(confirm=confirm))
    return dict(zip((o.name for o in spec.known.outputs), compute([spec], bars), strict=True))


def by_rules(got: dict[str, Floats], *, confirm: int, enter: float = 25, leave: float = 18) -> list[float]:
    """The rules of docs/regimes.md again, bar by bar over the values that decide."""
    now: float | None = None
    regimes, run = [], [0.0, 0]
    for bar in range(FIRST, len(got["adx"])):
        adx, side = got["adx"][bar], float(np.sign(got["direction"][bar]))
        turbulent = got["rank"][bar] >= (0.8 if now == TURBULENCE else 0.95)
        stays = now in (UP, DOWN) and side == now and adx >= leave
        begins = side != 0 and now != side and adx >= enter and got["efficiency"][bar] >= 0.3
        wanted = TURBULENCE if turbulent else side if stays or begins else RANGE
        run = [wanted, run[1] + 1 if run[0] == wanted and run[1] else 1] if wanted != now else [wanted, 0]
        if now is None or run[1] >= confirm:
            now, run = wanted, [wanted, 0]
        regimes.append(now)
    return regimes


@pytest.mark.parametrize("confirm", [1, 3, 10])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_regime_follows_the_written_rules(name: str, confirm: int) -> None:
    got = regime(ADVERSARIAL[name](1_500), confirm=confirm)
    assert got["regime"][FIRST:].tolist() == by_rules(got, confirm=confirm)


@given(seed=st.integers(0, 2**32), confirm=st.integers(1, 12))
def test_no_regime_but_the_last_is_shorter_than_the_confirmation(seed: int, confirm: int) -> None:
    """It cannot flicker: after a change the next needs as many bars again that indicate it."""
    codes = regime(walk(700, seed), confirm=confirm)["regime"][FIRST:]
    lengths = [len(list(run)) for _, run in groupby(codes.tolist())]
    assert all(length >= confirm for length in lengths[1:-1])


def test_confirmation_takes_changes_away() -> None:
    changes = [np.sum(np.diff(regime(walk(3_000), confirm=c)["regime"][FIRST:]) != 0) for c in (1, 3, 10)]
    assert changes[0] > changes[1] > changes[2] > 0


@pytest.mark.parametrize("name", ["walk", "gaps", "tiny_ticks", "equal_highs", "large"])
def test_adx_and_di_are_talibs(name: str) -> None:
    bars = ADVERSARIAL[name](1_500)
    got, high_low_close = regime(bars), (bars[HIGH], bars[LOW], bars[CLOSE])
    expected = talib.ADX(*high_low_close, 14)
    di = talib.PLUS_DI(*high_low_close, 14) - talib.MINUS_DI(*high_low_close, 14)
    np.testing.assert_allclose(got["adx"][FIRST:], expected[FIRST:], rtol=1e-9)
    np.testing.assert_allclose(got["direction"][FIRST:], di[FIRST:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["walk", "flat", "spikes"])
def test_efficiency_volatility_and_rank_are_what_their_definitions_give(name: str) -> None:
    bars = ADVERSARIAL[name](600)
    got, close = regime(bars), bars[CLOSE]
    change = np.diff(np.log(close), prepend=np.nan)
    volatility = np.array([np.sqrt(np.mean(change[max(i - 19, 0) : i + 1] ** 2)) for i in range(600)])
    for bar in range(FIRST, 600):
        way = np.abs(np.diff(close[bar - 20 : bar + 1])).sum()
        assert got["efficiency"][bar] == pytest.approx(abs(close[bar] - close[bar - 20]) / (way or 1))
        assert got["volatility"][bar] == pytest.approx(volatility[bar], rel=1e-9, abs=1e-15)
        past, value = got["volatility"][bar - 60 : bar], got["volatility"][bar]
        if bar >= FIRST + 60:
            assert got["rank"][bar] == np.mean(np.where(past < value, 1, np.where(past == value, 0.5, 0)))


def planted() -> Floats:
    """600 bars each: nothing, up, down, nothing, wild."""
    rng = np.random.default_rng(8)
    drift = np.repeat([0, 0.001, -0.001, 0, 0], 600)
    size = np.repeat([0.001, 0.001, 0.001, 0.001, 0.006], 600)
    close = 100 * np.exp(np.cumsum(drift + size * rng.normal(0, 1, 3_000)))
    reach = size * close * rng.uniform(0.1, 0.5, 3_000)
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) + reach, np.minimum(open_, close) - reach
    return from_ohlcv(open_, high, low, close, np.ones(3_000))


def test_planted_regimes_are_seen() -> None:
    codes = regime(planted())["regime"]
    shares = {
        (part, code): float(np.mean(codes[part * 600 + FIRST : (part + 1) * 600] == code))
        for part in range(5)
        for code in NAMES
    }
    assert shares[1, UP] > 0.7
    assert shares[2, DOWN] > 0.7
    for part in (0, 3):
        assert max(NAMES, key=lambda code: shares[part, code]) == RANGE
    assert TURBULENCE in codes[2_400:2_430]
    assert shares[0, TURBULENCE] < 0.2


def test_score_says_how_clear_it_is() -> None:
    got = regime(planted())
    clear = got["score"][(got["regime"] == UP) & (got["adx"] > 45) & (got["efficiency"] > 0.6)]
    weak = got["score"][(got["regime"] == UP) & (got["adx"] < 22)]
    assert clear.min() > 0.7 > weak.max()


def test_age_counts_from_the_bar_of_the_change() -> None:
    got = regime(walk(2_000))
    code, age = got["regime"][FIRST:], got["age"][FIRST:]
    changed = np.flatnonzero(np.diff(code) != 0) + 1
    assert len(changed) > 3
    assert (age[changed] == 0).all()
    rest = np.setdiff1d(np.arange(1, len(code)), changed)
    assert (age[rest] == age[rest - 1] + 1).all()


def test_on_real_minutes_all_regimes_occur_and_last() -> None:
    codes = compute([Spec.parse("regime")], klines("bitfinex_1m/BTCUSD-1m-2018.parquet", 20_000))[0, 300:]
    assert set(np.unique(codes)) == set(NAMES)
    assert len(codes) / np.sum(np.diff(codes) != 0) > 8


@pytest.mark.parametrize(("text", "message"), [
    ("regime(enter=20,leave=30)", "a trend is left at ADX 30, over 20"),
    ("regime(wild=0.5,calm=0.6)", "turbulence is left at rank 0.6, over 0.5"),
    ("regime(past=1001)", "past 1001 needs a whole number from 10 to 1000"),
])  # fmt: skip
def test_thresholds_in_the_wrong_order_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        Spec.parse(text)
