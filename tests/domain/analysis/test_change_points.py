"""Change points: the detections of river's detectors, on the same values, at the same bars."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import drift

from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.panel import Panel, Plan, compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.klines import klines
from tests.domain.analysis.series import from_ohlcv

REAL = ("bitmex/XBTUSD-1h.parquet", "bitfinex_1m/XRPUSD-1m-2018.parquet", "freqtrade_5m/LTC_BTC-5m.feather")
DETECTORS: dict[str, tuple[str, Callable[[], Any]]] = {
    "page_hinkley": (
        "page_hinkley(delta=0.1,threshold=20,least=25,keep=0.999",
        lambda: drift.PageHinkley(min_instances=25, delta=0.1, threshold=20, alpha=0.999),
    ),
    "adwin": (
        "adwin(delta=0.02,clock=8,least=4,grace=12",
        lambda: drift.ADWIN(delta=0.02, clock=8, min_window_length=4, grace_period=12),
    ),
}


def bars(close: Floats) -> Floats:
    return from_ohlcv(close, close, close, close, np.ones(len(close)))


def stepped(seed: int, count: int = 3_000) -> Floats:
    """Prices whose drift and volatility jump every few hundred bars."""
    rng = np.random.default_rng(seed)
    parts = int(rng.integers(4, 10))
    sizes = np.repeat(rng.choice([0.0005, 0.002, 0.006], parts), count // parts + 1)[:count]
    drifts = np.repeat(rng.choice([-0.4, 0.0, 0.4], parts), count // parts + 1)[:count]
    return bars(100 * np.exp(np.cumsum(sizes * (drifts + rng.normal(0, 1, count)))))


def oracle(values: Floats, make: Callable[[], Any], calibrate: int, absolute: bool) -> list[int]:
    """The bars of all changes: segments are cut here, the detector is river's."""
    close = values[CLOSE]
    found: list[int] = []
    seen: list[float] = []
    detector, unit = make(), 0.0
    for bar in range(1, len(close)):
        change = float(np.log(close[bar] / close[bar - 1]))
        if not unit:
            seen.append(abs(change))
            unit = sum(seen) / len(seen) if len(seen) >= calibrate else 0.0
            continue
        detector.update((abs(change) if absolute else change) / unit)
        if detector.drift_detected:
            found.append(bar)
            detector, unit, seen = make(), 0.0, []
    return found


def found_by(values: Floats, text: str) -> list[tuple[int, int]]:
    out = compute([Spec.parse(text)], values)
    at = np.flatnonzero(out[0] == 1)
    assert (np.flatnonzero(np.nan_to_num(out[1])) == at).all()
    return [(int(i), int(out[1, i])) for i in at]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", DETECTORS)
def test_detections_are_rivers_on_seeded_series(name: str, absolute: bool) -> None:
    text, make = DETECTORS[name]
    count = 0
    for seed in range(12):
        values = stepped(seed)
        ours = found_by(values, f"{text},calibrate=50,absolute={int(absolute)})")
        assert [bar for bar, _ in ours] == oracle(values, make, 50, absolute)
        count += len(ours)
    assert count > 20


@pytest.mark.parametrize("file", REAL)
@pytest.mark.parametrize("name", DETECTORS)
def test_detections_are_rivers_on_real_klines(name: str, file: str) -> None:
    text, make = DETECTORS[name]
    values = klines(file, 10_000)
    ours = found_by(values, f"{text},calibrate=100,absolute=1)")
    assert [bar for bar, _ in ours] == oracle(values, make, 100, True)
    assert len(ours) > 3


def volatility_step(before: float, after: float) -> Floats:
    rng = np.random.default_rng(5)
    sizes = np.repeat([before, after], 1_000)
    return bars(100 * np.exp(np.cumsum(sizes * rng.normal(0, 1, 2_000))))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(("after", "direction"), [(0.004, 1), (0.00025, -1)])
def test_a_jump_of_volatility_is_seen_once_soon_and_with_its_direction(
    name: str, after: float, direction: int
) -> None:
    found = found_by(volatility_step(0.001, after), f"{name}(absolute=1)")
    assert [d for _, d in found] == [direction]
    assert 1_000 < found[0][0] < 1_100


@pytest.mark.parametrize("name", DETECTORS)
def test_a_series_without_a_change_gives_hardly_any(name: str) -> None:
    rng = np.random.default_rng(6)
    values = bars(100 * np.exp(np.cumsum(rng.normal(0, 0.001, 20_000))))
    assert len(found_by(values, f"{name}(absolute=1)")) <= 1
    assert len(found_by(values, f"{name}(absolute=0)")) <= 1


@pytest.mark.parametrize("name", DETECTORS)
def test_the_statistic_says_how_near_a_change_is(name: str) -> None:
    change, direction, statistic, age = compute([Spec.parse(f"{name}(absolute=1)")], stepped(3))
    warm = ~np.isnan(change)
    assert ((abs(statistic[warm]) > 1) == (change[warm] == 1)).all()
    assert (np.sign(statistic[change == 1]) == direction[change == 1]).all()
    assert (age[change == 1] == 0).all()
    assert (np.diff(age[warm])[change[warm][1:] == 0] == 1).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_after_a_change_a_new_segment_finds_its_unit_first(name: str) -> None:
    change, _, statistic, age = compute([Spec.parse(f"{name}(absolute=1,calibrate=70)")], stepped(3))
    assert change.sum() == 0 or (statistic[(age <= 70) & (change == 0)] == 0).all()
    assert np.nansum(change) > 1


@pytest.mark.parametrize("name", DETECTORS)
def test_a_flat_market_waits_for_a_price_to_move(name: str) -> None:
    flat = np.full(500, 7.0)
    moving = 7.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 500)))
    out = compute([Spec.parse(f"{name}(absolute=1)")], bars(np.concatenate([flat, moving])))
    assert (out[2, 101:501] == 0).all()
    assert np.isfinite(out[:, 101:]).all()


def test_a_full_histogram_slides_and_still_sees_a_change() -> None:
    """Three levels hold 5 + 10 + 20 values: what is older goes, and is not taken for a change."""
    text = "adwin(levels=3,calibrate=10,clock=1,absolute=1,delta=0.01)"
    rng = np.random.default_rng(2)
    sizes = np.repeat([0.001, 0.02], [5_000, 40])
    values = bars(100 * np.exp(np.cumsum(sizes * rng.uniform(0.9, 1.1, 5_040))))
    found = found_by(values, text)
    assert [direction for _, direction in found] == [1]
    assert 5_000 < found[0][0] < 5_015


def test_the_window_of_a_full_histogram_holds_its_values_exactly() -> None:
    """Against the mean and variance of the values that are left, recomputed from scratch."""
    levels, count = 3, 700
    panel = Panel(Plan([Spec.parse("adwin(levels=3,calibrate=10,clock=1000)")]), 1)
    close = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.01, count)))
    panel.advance(bars(close)[:, :, None])
    width, total, variance = panel._carry[3:6, 0]
    change = np.diff(np.log(close))
    x = (change[10:] / np.abs(change[:10]).mean())[-int(width) :]
    assert 15 <= width <= 5 * (2**levels - 1)
    assert total == pytest.approx(x.sum(), rel=1e-9)
    assert variance == pytest.approx(((x - x.mean()) ** 2).sum(), rel=1e-9)
