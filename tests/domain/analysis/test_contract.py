"""What every registered indicator keeps to, be it an average, a pattern or a signal: found by discovery.

All of them share one plan a setting, because starting one costs more than running it; a rule that is
broken names the columns that broke it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import CLOSE, HIGH, INPUTS, LOW, OPEN, VOLUME, Field, Floats
from alphapulse.domain.analysis.panel import Panel, Plan, compute
from alphapulse.domain.analysis.registry import BadParameter, Indicator, Parameter, Spec, everything
from tests.domain.analysis.series import ADVERSARIAL, equal_highs, flat, gaps, spikes, walk

ORDINARY = 2  # of the slots, the first: walks, on which everything has a value
SLOTS: tuple[Callable[[int], Floats], ...] = (walk, lambda n: walk(n, 9), gaps, spikes, flat, equal_highs)
OTHER_ORDER = np.roll(np.arange(len(SLOTS))[::-1], 2)  # none where it was
MARGIN = 200  # bars after the last lookback


def default(parameter: Parameter) -> float:
    return parameter.default


def small(parameter: Parameter) -> float:
    return parameter.low if parameter.whole else (parameter.low + parameter.default) / 2


def larger(parameter: Parameter) -> float:
    wanted = parameter.default * 1.5 + (1 if parameter.whole else 0.1)
    return min(float(int(wanted)) if parameter.whole else wanted, parameter.high)


SETTINGS = (default, small, larger)


def spec_of(known: Indicator, setting: Callable[[Parameter], float]) -> Spec | None:
    """None where these do not go together."""
    try:
        return Spec.of(known.name, {p.name: setting(p) for p in known.parameters})
    except BadParameter:
        return None


@dataclass(frozen=True)
class World:
    plan: Plan
    bars: Floats  # (INPUTS, T, slots)
    expected: Floats  # (outputs, T, slots), all at once

    def __repr__(self) -> str:  # pytest would print all of it
        return f"{len(self.plan.specs)} indicators"

    def check(self, got: Floats, rows: slice = slice(None), slots: slice = slice(None)) -> None:
        assert_same(self.plan, got, self.expected[:, rows, slots])


def assert_same(plan: Plan, got: Floats, expected: Floats) -> None:
    """Byte for byte; any NaN is as good as another, the sign of a zero counts."""
    assert got.shape == expected.shape
    same = (got == expected) & (np.signbit(got) == np.signbit(expected)) | (
        np.isnan(got) & np.isnan(expected)
    )
    assert not (broken := broken_columns(plan, ~same)), broken


def broken_columns(plan: Plan, bad: np.ndarray) -> list[str]:
    """``bad`` is (outputs, T, slots): which columns, and where first."""
    found = []
    for column, rows in zip(plan.columns, bad, strict=True):
        if rows.any():
            row, slot = np.argwhere(rows)[0]
            found.append(f"{column}: {rows.sum()} of {rows.size}, first at row {row} of slot {slot}")
    return found


def all_at_once(plan: Plan, bars: Floats) -> Floats:
    return Panel(plan, bars.shape[2], chunk=bars.shape[1]).advance(bars)


@cache
def world_of(setting: Callable[[Parameter], float]) -> World:
    before = {
        spec_of(known, s) for s in SETTINGS[: SETTINGS.index(setting)] for known in everything().values()
    }
    specs = [spec_of(known, setting) for known in everything().values()]
    plan = Plan(spec for spec in specs if spec and spec not in before)
    count = plan.lookback + MARGIN
    bars = np.stack([made(count) for made in SLOTS], axis=2)
    return World(plan, bars, all_at_once(plan, bars))


@pytest.fixture(params=SETTINGS, ids=lambda setting: setting.__name__)
def world(request: pytest.FixtureRequest) -> World:
    return world_of(request.param)


def random() -> np.random.Generator:
    return np.random.default_rng(20)


def cuts(count: int, longest: int) -> Iterator[slice]:
    rng, begin = random(), 0
    while begin < count:
        end = min(begin + int(rng.integers(1, longest)), count)
        yield slice(begin, end)
        begin = end


def test_one_by_one_gives_the_bytes_of_all_at_once(world: World) -> None:
    panel = Panel(world.plan, len(SLOTS))
    steps = [panel.step(world.bars[:, t]).copy() for t in range(world.bars.shape[1])]
    world.check(np.stack(steps, axis=1))


def test_chunks_of_any_size_give_the_bytes_of_all_at_once(world: World) -> None:
    panel = Panel(world.plan, len(SLOTS), chunk=16)
    parts = [panel.advance(world.bars[:, rows]) for rows in cuts(world.bars.shape[1], 50)]
    world.check(np.concatenate(parts, axis=1))


def test_slots_that_go_each_at_its_own_pace_give_the_same_bytes(world: World) -> None:
    panel = Panel(world.plan, len(SLOTS), chunk=8)
    got = np.empty_like(world.expected)
    at, rng = np.zeros(len(SLOTS), dtype=int), random()
    while (at < world.bars.shape[1]).any():
        lo = int(rng.integers(len(SLOTS)))
        hi = lo + 1
        while hi < len(SLOTS) and at[hi] == at[lo]:
            hi += 1
        rows = slice(at[lo], min(at[lo] + int(rng.integers(1, 60)), world.bars.shape[1]))
        got[:, rows, lo:hi] = panel.advance(world.bars[:, rows, lo:hi], lo, hi)
        at[lo:hi] = rows.stop
    world.check(got)


def test_slots_in_another_order_give_the_same_bytes(world: World) -> None:
    got = all_at_once(world.plan, np.ascontiguousarray(world.bars[:, :, OTHER_ORDER]))
    assert_same(world.plan, got, world.expected[:, :, OTHER_ORDER])


def test_a_slot_alone_gives_the_bytes_it_gives_among_others(world: World) -> None:
    for slot in range(len(SLOTS)):
        got = compute(world.plan.specs, world.bars[:, :, slot], chunk=37)
        world.check(got[:, :, None], slots=slice(slot, slot + 1))


def test_restored_at_any_bar_goes_on_with_the_same_bytes(world: World) -> None:
    count = world.bars.shape[1]
    for cut in sorted(random().choice(np.arange(1, count), 6, replace=False)):
        before = Panel(world.plan, len(SLOTS), chunk=32)
        before.advance(world.bars[:, :cut])
        after = Panel(world.plan, len(SLOTS), chunk=5)
        for place, slot in enumerate(OTHER_ORDER):
            after.restore(before.snapshot(int(slot)), place)
        end = min(count, cut + 90)
        got = after.advance(np.ascontiguousarray(world.bars[:, cut:end, OTHER_ORDER]))
        assert_same(world.plan, got, world.expected[:, cut:end, OTHER_ORDER])


def noise(shape: tuple[int, ...], seed: int) -> Floats:
    """No bars at all: prices of any size and sign, volumes that are not there."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-12, 13, shape)
    made[VOLUME:][rng.random(made[VOLUME:].shape) < 0.3] = np.nan
    return made


def test_no_value_knows_what_comes_after_it(world: World) -> None:
    count = world.bars.shape[1]
    for seed, last in enumerate(random().integers(1, count - 1, 6)):
        bars = world.bars.copy()
        bars[:, last + 1 :] = noise(bars[:, last + 1 :].shape, seed)
        world.check(all_at_once(world.plan, bars)[:, : last + 1], rows=slice(0, last + 1))


def test_nothing_until_the_lookback_and_a_value_right_after_it(world: World) -> None:
    row = np.arange(world.bars.shape[1])[None, :, None]
    early = row < world.plan.lookbacks[:, None, None]
    ordinary = world.expected[:, :, :ORDINARY]
    assert not (broken := broken_columns(world.plan, early & ~np.isnan(world.expected))), broken
    assert not (broken := broken_columns(world.plan, ~early & np.isnan(ordinary))), broken


def test_values_stay_finite(world: World) -> None:
    assert not (broken := broken_columns(world.plan, np.isinf(world.expected))), broken


def test_other_units_scale_the_values_as_declared(world: World) -> None:
    """Powers of two are exact in floating point, so there is nothing to forgive."""
    outputs = [output for spec in world.plan.specs for output in spec.known.outputs]
    lawless = [not spec.known.scales for spec in world.plan.specs for _ in spec.known.outputs]
    prices, volumes = (
        np.array([getattr(o, n) for o in outputs])[:, None, None] for n in ("prices", "volumes")
    )
    for price, volume in ((4.0, 8.0), (0.125, 0.5)):
        bars = world.bars.copy()
        bars[[OPEN, HIGH, LOW, CLOSE]] *= price
        bars[VOLUME : VOLUME + 2] *= volume
        got = all_at_once(world.plan, bars)
        wanted = world.expected * price**prices * volume**volumes
        got[lawless] = wanted[lawless]
        assert_same(world.plan, got, wanted)


def test_values_stay_within_their_declared_bounds(world: World) -> None:
    outputs = [output for spec in world.plan.specs for output in spec.known.outputs]
    low, high = (
        np.array([(-1) ** (n == "low") * np.inf if (x := getattr(o, n)) is None else x for o in outputs])
        for n in ("low", "high")
    )
    for made in ADVERSARIAL.values():
        got = compute(world.plan.specs, made(world.bars.shape[1]))[:, :, None]
        outside = (got < low[:, None, None]) | (got > high[:, None, None])
        assert not (broken := broken_columns(world.plan, outside)), f"{made.__name__}: {broken}"


DERIVED = dict.fromkeys((Field.TYPICAL, Field.TRUE_RANGE), (Field.HIGH, Field.LOW, Field.CLOSE))


def test_an_input_that_is_not_declared_changes_nothing(world: World) -> None:
    for field in list(Field)[:INPUTS]:
        bars = world.bars.copy()
        bars[field] = noise(bars.shape, 3)[field]
        bars[field, ::3] = np.nan if field >= VOLUME else 1.0
        got = all_at_once(world.plan, bars)
        reads = [
            any(field in DERIVED.get(i, (i,)) for i in spec.known.inputs)
            for spec in world.plan.specs
            for _ in spec.known.outputs
        ]
        got[reads] = world.expected[reads]
        assert_same(world.plan, got, world.expected)


def test_what_is_declared_suffices_and_nothing_beside_it_is_touched(world: World) -> None:
    count, at = min(world.bars.shape[1], 300), 0
    for spec in world.plan.specs:
        plan = Plan([spec])
        got = fenced_in(plan, world.bars[:, :count])
        assert_same(plan, got, world.expected[at : at + plan.outputs, :count])
        at += plan.outputs


def fenced_in(plan: Plan, bars: Floats) -> Floats:
    """Outputs with junk in all rows that are older than the window, and fences around what may be written."""
    panel = Panel(plan, bars.shape[2])
    fences = {name: fence(panel, name) for name in ("_lines", "_carry", "_out")}
    steps = []
    for t in range(bars.shape[1]):
        junk(panel, t)
        steps.append(panel.step(bars[:, t]).copy())
    for name, whole in fences.items():
        assert (whole[[0, -1]] == 77).all(), f"{plan.columns[0]} writes beyond its {name[1:]}"
    return np.stack(steps, axis=1)


def fence(panel: Panel, name: str) -> Floats:
    """One row more at either end of the array, which nobody may change."""
    inside = getattr(panel, name)
    whole = np.full((inside.shape[0] + 2, *inside.shape[1:]), 77.0)
    whole[1:-1] = inside
    setattr(panel, name, whole[1:-1])
    return whole


def junk(panel: Panel, t: int) -> None:
    rows = panel._bars.shape[1]
    old = (t + np.arange(rows - panel.plan.window)) & (rows - 1)
    for ring in (panel._bars, panel._lines):
        ring[:, old] = [[[1e9], [-1e9]][t % 2]] if t % 3 else np.nan


def test_the_start_is_forgotten_as_soon_as_declared() -> None:
    found = (spec_of(known, default) for known in everything().values())
    specs = [spec for spec in found if spec and Plan([spec]).forgets is not None]
    for made in (walk, gaps):
        forget_their_start(specs, made)


def forget_their_start(specs: Sequence[Spec], made: Callable[[int], Floats], later: int = 61) -> None:
    """Begun ``later`` bars later, they say the same after as many bars as they declare."""
    longest = Plan(specs).forgets
    assert longest is not None
    bars = made(longest + later + 100)
    whole, cut = compute(specs, bars), compute(specs, bars[:, later:])
    at = 0
    for spec in specs:
        after = spec.known.forgets(spec.params)
        assert after is not None
        assert after > max(spec.known.lookbacks(spec.params)), f"{spec} forgets before it has a value"
        rows = slice(at, at + len(spec.columns))
        apart = np.abs(cut[rows, after:] - whole[rows, later + after :])
        scale = np.nanmax(np.abs(whole[rows]), axis=1, keepdims=True)
        assert (apart <= 1e-9 * scale).all(), f"{spec} knows its start after {after} bars"
        at = rows.stop


def edges(known: Indicator) -> Iterator[Spec]:
    """Each parameter at either end of its range, with others that go with it."""
    for parameter in known.parameters:
        if parameter.name == "anchor":
            continue  # a moment, before which there is nothing
        for value in (parameter.low, parameter.high):
            others = [
                [value] if p is parameter else list(dict.fromkeys((p.default, p.low, p.high)))
                for p in known.parameters
            ]
            names = [p.name for p in known.parameters]
            tries = (dict(zip(names, values, strict=True)) for values in product(*others))
            fitting = next(
                (s for given in tries if (s := spec_of(known, lambda p, g=given: g[p.name]))), None
            )
            assert fitting, f"{known.name}: {parameter.name} cannot be {value:g} whatever the others are"
            yield fitting


def test_parameters_at_the_ends_of_their_range_work() -> None:
    specs = sorted({spec for known in everything().values() for spec in edges(known)})
    for spec in specs:
        got = compute([spec], walk(max(spec.known.lookbacks(spec.params)) + 30), chunk=512)
        late = [column[bars:] for column, bars in zip(got, spec.known.lookbacks(spec.params), strict=True)]
        assert not any(np.isnan(column).any() for column in late), f"{spec} has no value after its lookback"


def test_what_is_declared_makes_sense() -> None:
    kinds = {"trend", "momentum", "volatility", "volume", "pattern", "signal", "regime", "anomaly"}
    for known in everything().values():
        assert known.kind in kinds, known.name
        assert known.title, known.name
        assert known.source, known.name
        assert known.outputs, known.name
        assert len({o.name for o in known.outputs}) == len(known.outputs), known.name
        for p in known.parameters:
            assert p.low <= p.default <= p.high, f"{known.name}: {p.name}"
        spec = spec_of(known, default)
        assert spec is not None, f"{known.name}: its defaults do not go together"
        assert Spec.parse(str(spec)) == spec
