"""Numbers of outputs without their events: the same to the last bit, whichever way the log is cut."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.decision.decisions import DecisionMade, ParametersAdapted, bar_of
from alphapulse.domain.signals import engine_said
from alphapulse.domain.signals.engine import Engine, Output, Outputs
from alphapulse.domain.signals.engine_clerk import REGIME_NAMES, Clerk
from alphapulse.domain.signals.engine_columns import decisions_of, names_of, outcomes_of
from alphapulse.domain.signals.engine_digest import Digest
from alphapulse.domain.signals.engine_events import DECISION, EXIT, OUTCOME, Told
from alphapulse.domain.signals.engine_noted import Noted
from alphapulse.domain.signals.engine_pairs import codes_of, keys_of, ordinals_of
from alphapulse.domain.signals.outcome import REASONS
from alphapulse.domain.signals.signal import OutcomeRecorded
from tests.domain.signals.test_engine import MANY, MIXED


@cache
def outputs() -> Outputs:
    return Engine(MANY).advance(MIXED)


def events(kind: type) -> list[Any]:
    return [output.event for output in outputs() if isinstance(output.event, kind)]


def cut(cuts: Sequence[int]) -> list[Outputs]:
    engine = Engine(MANY)
    edges = [0, *sorted(set(cuts)), len(MIXED)]
    return [engine.advance(MIXED[a:b]) for a, b in pairwise(edges)]


def digest(parts: Sequence[Outputs]) -> str:
    found = Digest()
    for part in parts:
        found.take(part)
    return found.hexdigest()


def test_no_event_is_made_before_somebody_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[int]()
    write = Clerk.event

    def counted(clerk: Clerk, noted: Noted, kind: int, n: int) -> Any:
        made.append(n)
        return write(clerk, noted, kind, n)

    monkeypatch.setattr(Clerk, "event", counted)
    found = Engine(MANY).advance(MIXED)
    digest([found])
    decisions_of(found)
    outcomes_of(found, MANY.risk)
    assert any(output.decision for output in found)
    assert not made
    first = next(output for output in found if output.kind == DECISION)
    assert isinstance(first.event, DecisionMade)
    assert first.event is first.event
    assert len(made) == 1


def test_columns_of_decisions_are_the_numbers_of_their_events() -> None:
    columns, made = decisions_of(outputs()), events(DecisionMade)
    assert len(columns) == len(made) > 100
    same = "position time instrument timeframe bar_start side entry stop target horizon_end chosen"
    for name in f"{same} average_true_range consensus disagreement voters".split():
        assert getattr(columns, name).tolist() == [getattr(each, name) for each in made], name
    assert [REGIME_NAMES[code] for code in columns.regime.tolist()] == [each.regime for each in made]
    adaptations = ("", *(each.name for each in MANY.adaptations))
    assert [adaptations[number] for number in columns.parameters.tolist()] == [m.parameters for m in made]
    assert columns.calibration.tolist() == [each.claim.calibration for each in made]
    assert columns.confidence.tolist() == [each.claim.confidence for each in made]
    assert columns.needed.tolist() == [each.gate.needed for each in made]
    chosen = [each.proposed[max(each.chosen, 0)] for each in made]
    assert columns.base.tolist() == [each.base for each in chosen]
    assert columns.expected_bps.tolist() == [each.expected_bps for each in chosen]
    assert [names_of(bits) for bits in columns.refusals.tolist()] == [each.refusals for each in made]
    assert columns.passed.tolist() == [not each.refusals for each in made]
    assert [outputs()[row].event for row in columns.row.tolist()] == made


def test_columns_of_outcomes_are_the_numbers_of_their_events() -> None:
    columns, made = outcomes_of(outputs(), MANY.risk), events(OutcomeRecorded)
    assert len(columns) == len(made) > 50
    for name in ("instrument", "timeframe", "side", "confidence"):
        assert getattr(columns, name).tolist() == [getattr(each, name) for each in made], name
    prices = "position label worst_label best_label exit_price worst_price best_price fill_price"
    returns = "gross_bps net_bps r_multiple net_r_multiple mfe_bps mae_bps unseen_from unseen_until"
    for name in f"{prices} {returns}".split():
        assert getattr(columns, name).tolist() == [getattr(each.outcome, name) for each in made], name
    assert columns.closed.tolist() == [each.outcome.closed_at for each in made]
    assert (columns.closed - columns.decided).tolist() == [each.outcome.holding_ns for each in made]
    assert columns.bar_start.tolist() == [bar_of(each.decision) for each in made]
    assert [REASONS[code] for code in columns.reason.tolist()] == [each.outcome.reason for each in made]
    decided = {each.decision: each for each in events(DecisionMade)}
    mine = [decided[each.decision] for each in made]
    for name in ("entry", "stop", "target", "horizon_end"):
        assert getattr(columns, name).tolist() == [getattr(each, name) for each in mine], name
    assert columns.passed.tolist() == [not set(each.refusals) - {"breaker"} for each in mine]


def test_what_an_output_is_and_whose_decision_needs_no_event() -> None:
    for output in outputs():
        event = output.event
        assert (output.kind == DECISION) == isinstance(event, DecisionMade)
        assert (output.kind == OUTCOME) == isinstance(event, OutcomeRecorded)
        expected = event.decision if isinstance(event, DecisionMade | OutcomeRecorded) else ""
        assert output.decision == expected
        assert Output(output.position, output.instrument, output.ordinal, event) == output
        assert Told(output.position, output.instrument, output.ordinal, event).decision(0) == expected


def test_a_part_of_outputs_has_the_rows_of_that_part() -> None:
    whole, part = outputs(), outputs()[100:300]
    assert list(part) == list(whole)[100:300]
    inside = (decisions_of(whole).row >= 100) & (decisions_of(whole).row < 300)
    assert decisions_of(part).entry.tolist() == decisions_of(whole).entry[inside].tolist()
    assert list(part + whole[:5]) == [*list(part), *list(whole)[:5]]
    assert digest([whole[:100], part, whole[300:]]) == digest([whole])
    assert len(decisions_of(whole[:0])) == len(outcomes_of(whole[:0], MANY.risk)) == 0


@settings(max_examples=5)
@given(cuts=st.sets(st.integers(0, len(MIXED)), max_size=40))
def test_the_digest_is_the_same_however_the_log_is_cut(cuts: set[int]) -> None:
    assert digest(cut(sorted(cuts))) == digest([outputs()])


def test_any_number_that_is_another_gives_another_digest() -> None:
    whole = outputs()
    assert digest([whole[1:]]) != digest([whole])
    block = next(b for b in whole.blocks if len(b.notes.decision_i) and len(b.notes.outcome_i))  # type: ignore[attr-defined]
    for table in (block.notes.of_voters, block.notes.proposed, block.notes.outcome_f, block.decided.lineage):  # type: ignore[attr-defined]
        kept, at = table.flat[-1], table.size - 1
        before = digest([whole])
        table.flat[at] = kept + 1
        assert digest([whole]) != before
        table.flat[at] = kept
        assert digest([whole]) == before


@pytest.mark.parametrize("kept_whole", [0, 1_000_000])
def test_reasons_are_the_same_whether_the_sheet_was_kept_or_only_its_decisions(
    monkeypatch: pytest.MonkeyPatch, kept_whole: int
) -> None:
    monkeypatch.setattr(engine_said, "KEPT_WHOLE", kept_whole)
    assert list(Engine(MANY).advance(MIXED)) == list(outputs())


def test_outputs_that_no_engine_gave_have_no_columns() -> None:
    event = events(ParametersAdapted)[0]
    (made,) = (e for e in events(DecisionMade)[:1])
    assert len(decisions_of(Outputs.of([Told(1, "test:M0", 1, event)]))) == 0
    with pytest.raises(TypeError, match="test:M0"):
        decisions_of(Outputs.of([Told(1, "test:M0", 1, made)]))


def test_there_are_exits_among_them() -> None:
    assert np.count_nonzero(outputs().kinds == EXIT) > 0


def test_a_decision_and_its_outcome_have_one_key_and_others_have_another() -> None:
    whole = outputs()
    codes = codes_of(whole, {block.instrument: n for n, block in enumerate(whole.blocks)})
    keys = keys_of(whole, codes).tolist()
    ids = [output.decision for output in whole]
    assert {key for key, its in zip(keys, ids, strict=True) if not its} == {-1}
    pairs = {(key, its) for key, its in zip(keys, ids, strict=True) if its}
    assert len(pairs) == len({key for key, _ in pairs}) == len({its for _, its in pairs})


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([DECISION, OUTCOME, EXIT])), max_size=30))
def test_ordinals_count_in_each_market_and_advice_has_that_of_its_decision(
    given: list[tuple[int, int]],
) -> None:
    codes, kinds = (np.array([pair[n] for pair in given], dtype=np.int64) for n in (0, 1))
    last, expected, found = np.arange(4) * 10, list[int](), [0, 10, 20, 30]
    for code, kind in given:
        found[code] += kind != EXIT
        expected.append(found[code])
    assert ordinals_of(kinds, codes, last).tolist() == expected
    assert last.tolist() == found
