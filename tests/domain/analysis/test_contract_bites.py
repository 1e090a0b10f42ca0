"""The contract finds what it is there to find: each of these indicators breaks one rule, and is caught."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alphapulse.domain.analysis import registry
from alphapulse.domain.analysis.compiled import View
from alphapulse.domain.analysis.fields import CLOSE, HIGH, Floats
from alphapulse.domain.analysis.panel import Plan
from alphapulse.domain.analysis.registry import Kernel, Output, Spec, indicator
from tests.domain.analysis import test_contract as contract
from tests.domain.analysis.series import walk

Register = Callable[..., Plan]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Registers ``bad`` for the length of a test, and gives a plan of it alone."""
    registry.everything()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    def registered(kernel: Kernel, **declared: Any) -> Plan:
        facts: dict[str, Any] = {
            "title": "Bad", "kind": "trend", "outputs": (Output("bad", "price", prices=1),),
            "lookback": lambda _: 3, "window": lambda _: 3, "source": "made up",
        }  # fmt: skip
        indicator(name="bad", **facts | declared)(kernel)
        return Plan([Spec("bad", ())])

    return registered


def world(plan: Plan) -> contract.World:
    bars = np.stack([made(120) for made in contract.SLOTS], axis=2)
    return contract.World(plan, bars, contract.all_at_once(plan, bars))


def caught() -> Any:
    return pytest.raises(AssertionError, match="bad")


def three_ago(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            out[0, row - view.first, n] = view.bars[CLOSE, (row - 3) & view.mask, n]


def next_close(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            ahead = min(row + 1, view.last - 1)
            out[0, row - view.first, n] = view.bars[CLOSE, ahead & view.mask, n]


def of_its_chunk(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            out[0, row - view.first, n] = view.bars[CLOSE, view.first & view.mask, n]


def of_its_neighbour(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            out[0, row - view.first, n] = view.bars[CLOSE, row & view.mask, view.lo]


def next_carry(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            carry[carry.shape[0], n] = 1.0
            out[0, row - view.first, n] = view.bars[CLOSE, row & view.mask, n]


def slow_average(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            carry[0, n] += 0.05 * (view.bars[CLOSE, row & view.mask, n] - carry[0, n])
            out[0, row - view.first, n] = carry[0, n]


def high(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for n in range(view.lo, view.hi):
            out[0, row - view.first, n] = view.bars[HIGH, row & view.mask, n]


def test_a_kernel_that_keeps_to_what_it_declares_passes(register: Register) -> None:
    good = world(register(three_ago))
    contract.test_one_by_one_gives_the_bytes_of_all_at_once(good)
    contract.test_no_value_knows_what_comes_after_it(good)
    contract.test_what_is_declared_suffices_and_nothing_beside_it_is_touched(good)
    contract.test_other_units_scale_the_values_as_declared(good)


def test_a_look_ahead_is_caught(register: Register) -> None:
    bad = world(register(next_close))
    with caught():
        contract.test_no_value_knows_what_comes_after_it(bad)
    with caught():
        contract.test_one_by_one_gives_the_bytes_of_all_at_once(bad)


def test_a_value_that_depends_on_the_chunk_is_caught(register: Register) -> None:
    bad = world(register(of_its_chunk))
    with caught():
        contract.test_chunks_of_any_size_give_the_bytes_of_all_at_once(bad)


def test_a_value_that_depends_on_other_slots_is_caught(register: Register) -> None:
    bad = world(register(of_its_neighbour))
    with caught():
        contract.test_slots_in_another_order_give_the_same_bytes(bad)
    with caught():
        contract.test_a_slot_alone_gives_the_bytes_it_gives_among_others(bad)


def test_a_window_that_is_declared_too_short_is_caught(register: Register) -> None:
    bad = world(register(three_ago, window=lambda _: 2))
    with caught():
        contract.test_what_is_declared_suffices_and_nothing_beside_it_is_touched(bad)
    with caught():
        contract.test_restored_at_any_bar_goes_on_with_the_same_bytes(bad)


def test_a_write_beyond_what_it_carries_is_caught(register: Register) -> None:
    bad = register(next_carry, carries=lambda _: 1)
    with pytest.raises(AssertionError, match="bad writes beyond its carry"):
        contract.fenced_in(bad, walk(30)[:, :, None])


def test_a_lookback_that_is_declared_too_short_is_caught(register: Register) -> None:
    bad = world(register(three_ago, lookback=lambda _: 2))
    with caught():
        contract.test_nothing_until_the_lookback_and_a_value_right_after_it(bad)


def test_another_scale_than_the_declared_is_caught(register: Register) -> None:
    bad = world(register(three_ago, outputs=(Output("bad", "ratio"),)))
    with caught():
        contract.test_other_units_scale_the_values_as_declared(bad)


def test_a_value_outside_its_bounds_is_caught(register: Register) -> None:
    bad = world(register(three_ago, outputs=(Output("bad", "percent", high=100),)))
    with caught():
        contract.test_values_stay_within_their_declared_bounds(bad)


def test_an_input_that_was_not_declared_is_caught(register: Register) -> None:
    company = Spec.of("willr")  # highs are kept for it: alone, what is not declared is not even there
    bad = world(Plan([*register(high).specs, company]))
    with caught():
        contract.test_an_input_that_is_not_declared_changes_nothing(bad)


def test_a_memory_that_is_longer_than_declared_is_caught(register: Register) -> None:
    bad = register(slow_average, carries=lambda _: 1, forgets=lambda _: 60)
    with pytest.raises(AssertionError, match="bad knows its start after 60 bars"):
        contract.forget_their_start(bad.specs, walk)
