"""A decision explained: every number of it follows from those beside it and from the calibration it names."""

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from alphapulse.domain.decision import decisions as d
from alphapulse.domain.decision.strategy import Gate, Geometry, Learning, StrategyDefined, change_of
from alphapulse.domain.decision.table import Table
from alphapulse.domain.signals.engine import Engine, ExitSuggested, Output
from alphapulse.domain.signals.engine_arrays import ADAPT_BARS, MAX_OPEN_IDEAS
from alphapulse.domain.signals.signal import OutcomeRecorded
from tests.domain.signals.engine_world import (
    ADAPTATIONS,
    MINUTE,
    Log,
    bar_events,
    closes_and_volumes,
    log,
    seat,
    strategy,
    world,
)

PLAIN = strategy(
    adaptations=ADAPTATIONS,
    geometries=(
        Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=30),
        Geometry(stop_atr=1.05, target_atr=1.65, horizon_bars=30),
    ),
)


@cache
def outputs() -> list[Output]:
    return list(Engine(PLAIN).advance(world(bars=6_000)))


def of(found: list[Output], kind: type) -> list[Any]:
    return [output.event for output in found if isinstance(output.event, kind)]


def ran(log: Log, defined: StrategyDefined) -> list[Output]:
    return list(Engine(defined).advance(log))


def decided() -> list[d.DecisionMade]:
    return of(outputs(), d.DecisionMade)


def tables() -> dict[int, Table]:
    return {c.number: Table(c.x, c.p) for c in of(outputs(), d.CalibrationFitted)}


def test_weights_follow_from_skill_and_crowd_and_make_the_consensus() -> None:
    for made in decided():
        voting = [vote for vote in made.votes if vote.direction]
        raw = [max(vote.skill, 0) / vote.crowd for vote in voting]
        if not any(raw):
            raw = [1 / vote.crowd for vote in voting]
        signed = [vote.direction * vote.score for vote in voting]
        weights = [vote.weight for vote in voting]
        np.testing.assert_allclose(weights, np.array(raw) / sum(raw), atol=1e-12)
        mean = float(np.dot(weights, signed))
        spread = math.sqrt(float(np.dot(weights, (np.array(signed) - mean) ** 2)))
        expected = (mean, spread, sum(1 / vote.crowd for vote in voting))
        np.testing.assert_allclose((made.consensus, made.disagreement, made.voters), expected, atol=1e-12)
        assert made.side == (1 if mean > 0 else -1)
        assert all(vote.weight == 0 for vote in made.votes if not vote.direction)


def test_skill_is_what_was_measured_shrunk_to_the_prior() -> None:
    weight = PLAIN.learning.prior_weight
    for made in decided():
        for vote in made.votes:
            mean = (vote.outcomes * vote.measured + weight * vote.prior) / (vote.outcomes + weight)
            assert abs(vote.skill - mean) < 1e-12


def test_priors_are_those_of_the_calibration_in_force() -> None:
    priors: dict[str, tuple[float, float]] = {}
    for output in outputs():
        if isinstance(output.event, d.CalibrationFitted):
            priors = output.event.priors
        elif isinstance(output.event, d.DecisionMade):
            for vote in output.event.votes:
                prior, _ = priors.get(f"{vote.voter}|{output.event.regime}|1", (0.02, 0))
                assert vote.prior == prior
    assert priors


def test_levels_follow_from_the_range_and_the_parameters_in_force() -> None:
    changes = {"": change_of(None)} | {a.name: change_of(a) for a in ADAPTATIONS}
    for made in decided():
        change = changes[made.parameters]
        for proposed, geometry in zip(made.proposed, PLAIN.geometries, strict=True):
            stop = geometry.stop_atr * change["stop"] * made.average_true_range
            target = geometry.target_atr * change["target"] * made.average_true_range
            assert abs(proposed.stop - (made.entry - made.side * stop)) < 1e-9
            assert abs(proposed.target - (made.entry + made.side * target)) < 1e-9
            bars = math.floor(geometry.horizon_bars * change["horizon"] + 0.5)
            assert proposed.horizon_end == made.time + bars * MINUTE
            assert abs(proposed.base - stop / (stop + target)) < 1e-9


def test_the_geometry_with_most_to_expect_is_chosen() -> None:
    cost = 2 * PLAIN.risk.fee_bps + PLAIN.risk.slippage_bps
    for made in decided():
        for proposed in made.proposed:
            odds = math.log(proposed.base / (1 - proposed.base))
            assert abs(proposed.raw - (odds + PLAIN.sharpness * abs(made.consensus))) < 1e-9
            p = 1 / (1 + math.exp(-proposed.raw))
            gain = abs(proposed.target - made.entry) / made.entry * 1e4
            loss = abs(proposed.stop - made.entry) / made.entry * 1e4
            assert abs(proposed.expected_bps - (p * gain - (1 - p) * loss - cost)) < 1e-6
        best = max(made.proposed, key=lambda proposed: proposed.expected_bps)
        assert made.proposed[made.chosen] == best
        assert (made.stop, made.target, made.horizon_end) == (best.stop, best.target, best.horizon_end)
    assert len({made.chosen for made in decided()}) > 1


def test_confidence_is_the_table_of_the_calibration_it_names() -> None:
    found = tables()
    for made in decided():
        claim, table = made.claim, found.get(made.claim.calibration)
        if table is None:
            assert made.refusals[0] == d.UNCALIBRATED
            assert claim.confidence == 0
            continue
        assert claim.confidence == float(table(np.array([claim.raw]))[0])
        share = (claim.raw - claim.x0) / (claim.x1 - claim.x0) if claim.x1 > claim.x0 else 1.0
        between = claim.p0 + min(max(share, 0.0), 1.0) * (claim.p1 - claim.p0)
        assert abs(claim.confidence - between) < 1e-12


def test_the_gate_says_no_for_exactly_the_rules_that_are_broken() -> None:
    seen = set()
    for made in decided():
        gate, costs = made.gate, (2 * PLAIN.risk.fee_bps + PLAIN.risk.slippage_bps) / 1e4 * made.entry
        stop, target = abs(made.entry - made.stop), abs(made.target - made.entry)
        assert abs(gate.needed - (stop + costs) / (stop + target)) < 1e-9
        assert gate.margin == made.claim.confidence - gate.needed
        expected = []
        if made.claim.calibration == 0:
            expected.append(d.UNCALIBRATED)
        else:
            if made.claim.confidence < gate.threshold:
                expected.append(d.LOW_CONFIDENCE)
            if gate.margin < gate.required_margin:
                expected.append(d.DOES_NOT_PAY)
        if gate.is_closed:
            expected.append(d.BREAKER)
        if not any(vote.direction and vote.skill > 0 for vote in made.votes):
            expected.append(d.NO_SKILL)
        assert gate.is_closed == (gate.outcomes >= 30 and gate.upper_bound < gate.mean_claim)
        assert made.refusals == tuple(expected)
        assert made.verdict == (d.REFUSED if expected else d.ISSUED)
        assert len(made.notes) == len(expected)
        seen |= {made.verdict, *made.refusals}
    assert {d.ISSUED, d.REFUSED, d.UNCALIBRATED} <= seen


def test_nothing_is_claimed_before_enough_was_resolved() -> None:
    resolved, first = 0, None
    for output in outputs():
        if isinstance(output.event, OutcomeRecorded):
            resolved += 1
        elif isinstance(output.event, d.CalibrationFitted):
            first = resolved
            break
        elif isinstance(output.event, d.DecisionMade):
            assert output.event.refusals[0] == d.UNCALIBRATED
            assert output.event.notes[0].endswith(f"{resolved} candidates resolved, 60 are needed")
    assert first == PLAIN.learning.least


def test_a_fit_is_made_when_so_many_more_have_been_resolved() -> None:
    resolved, counts = 0, []
    for output in outputs():
        resolved += isinstance(output.event, OutcomeRecorded)
        if isinstance(output.event, d.CalibrationFitted):
            counts.append(resolved)
            assert output.event.candidates == min(resolved, PLAIN.learning.window)
    assert len(counts) > 3
    for before, after in pairwise(counts):
        due = before + math.ceil(PLAIN.learning.refit_ratio * before)
        assert due <= after <= due + 2, "one tick may resolve a few"


def test_ordinals_count_the_events_of_each_stream() -> None:
    streams: dict[str, list[int]] = {}
    for output in outputs():
        if not isinstance(output.event, ExitSuggested):
            streams.setdefault(output.instrument, []).append(output.ordinal)
    assert set(streams) == {"", "test:M0", "test:M1"}
    for ordinals in streams.values():
        assert ordinals == list(range(1, len(ordinals) + 1))


def test_positions_never_step_back_and_every_candidate_resolves_once() -> None:
    positions = [output.position for output in outputs()]
    assert positions == sorted(positions)
    ids = [made.decision for made in decided()]
    ends = [outcome.decision for outcome in of(outputs(), OutcomeRecorded)]
    assert len(set(ids)) == len(ids)
    assert len(set(ends)) == len(ends)
    assert set(ends) <= set(ids)
    assert len(set(ids) - set(ends)) < 10  # still open


def test_an_exit_is_suggested_once_against_what_passed_the_gate_and_is_open() -> None:
    found, opened, left = list[str](), dict[str, d.DecisionMade](), set[str]()
    for output in ran(world(bars=8_000, edge=4e-4), strategy(geometries=(WIDE,))):
        match output.event:
            case d.DecisionMade() as made:
                opened[made.decision] = made
            case OutcomeRecorded() as outcome:
                left.add(outcome.decision)
            case ExitSuggested() as exit_:
                advised, against = opened[exit_.decision], opened[exit_.against]
                assert advised.verdict == d.ISSUED
                assert exit_.decision not in left
                assert (advised.side, advised.instrument) == (-against.side, against.instrument)
                assert (exit_.time, exit_.price, exit_.consensus) == (
                    against.time,
                    against.entry,
                    against.consensus,
                )
                found.append(exit_.decision)
    assert len(found) == len(set(found)) > 3


WIDE = Geometry(stop_atr=6.0, target_atr=6.0, horizon_bars=200)


# Quorum and disagreement


def test_two_copies_of_a_voter_are_no_quorum() -> None:
    copies = (seat("a", noise=0.4), seat("again", noise=0.4), seat("and again", noise=0.4))
    assert not ran(world(), strategy(*copies))
    assert ran(world(), strategy(*copies, quorum=1.0))


def test_a_copy_changes_neither_consensus_nor_voters() -> None:
    one = (seat("a", noise=0.4, seed=1.0), seat("b", noise=0.4, seed=2.0), seat("c", noise=0.4, seed=3.0))
    plain = of(ran(world(), strategy(*one)), d.DecisionMade)
    more = of(ran(world(), strategy(*one, seat("a2", noise=0.4, seed=1.0))), d.DecisionMade)
    assert [made.decision for made in plain] == [made.decision for made in more]
    for a, b in zip(plain, more, strict=True):
        np.testing.assert_allclose((a.consensus, a.voters), (b.consensus, b.voters), rtol=1e-9)
        assert b.votes[0].crowd == pytest.approx(2 * a.votes[0].crowd)
    assert plain


def test_voters_on_both_sides_make_no_candidate() -> None:
    against = (seat("a", noise=0.1, seed=1.0), seat("b", noise=0.1, seed=2.0, sign=-1.0))
    assert not ran(world(), strategy(*against))


def test_a_voter_with_skill_gets_the_weight_of_one_without() -> None:
    voters = (seat("sees", noise=0.2, seed=1.0), seat("guesses", sign=0.0, noise=1.0, seed=2.0))
    found = ran(world(bars=8_000), strategy(*voters, min_consensus=0.3, quorum=1.5))
    last = of(found, d.DecisionMade)[-1]
    sees, guesses = last.votes
    assert sees.outcomes > 20
    assert sees.skill > 0.1 > guesses.skill


def test_voters_that_lost_their_skill_are_watched_but_not_believed_until_they_regain_it() -> None:
    """First they are wrong, then right: without being watched they could never show it."""
    wrong, volumes = closes_and_volumes(50, 4_000, edge=-4e-4)
    right, more = closes_and_volumes(51, 12_000, edge=4e-4)
    closes = np.concatenate([wrong, right / right[0] * wrong[-1]])
    events = log({"M0": bar_events("M0", closes, np.concatenate([volumes, more]))})
    learning = Learning(least=60, half_life=30.0, prior_weight=20.0, window=150)
    found = of(ran(events, strategy(learning=learning)), d.DecisionMade)
    lost = [made for made in found if d.NO_SKILL in made.refusals]
    assert lost
    assert all(made.verdict == d.REFUSED for made in lost)
    assert "only watched" in lost[0].notes[-1]
    ended = {made.regime: made.time for made in reversed(lost)}
    later = [made for made in found if made.time > ended.get(made.regime, made.time)]
    assert any(made.verdict == d.ISSUED for made in later)


# Capacity


def test_candidates_beyond_what_is_watched_are_refused_and_leave_no_outcome() -> None:
    voters = (seat("a", sign=0.0, noise=1.0, seed=1.0, least=0.2), seat("b", sign=0.0, noise=0.9, seed=1.0))
    far = Geometry(stop_atr=20.0, target_atr=20.0, horizon_bars=5_000)
    still = 100.0 + 0.05 * np.sin(np.arange(900) * 1.7)
    events = log({"M0": bar_events("M0", still, np.full(900, 1_000.0))})
    found = ran(events, strategy(*voters, quorum=1.0, min_consensus=0.3, geometries=(far,)))
    made = of(found, d.DecisionMade)
    refused = [each for each in made if d.CAPACITY in each.refusals]
    assert len(made) - len(refused) - len(of(found, OutcomeRecorded)) == MAX_OPEN_IDEAS
    assert f"{MAX_OPEN_IDEAS} ideas of this market are open" in refused[0].notes[-1]
    assert not {each.decision for each in refused} & {o.decision for o in of(found, OutcomeRecorded)}


def test_levels_below_nothing_are_refused_with_their_values_and_not_watched() -> None:
    """Where the range is larger than the price, what lies below it lies below 0."""
    closes, volumes = closes_and_volumes(5, 700, edge=0.0)
    closes = 0.01 + 0.009 * np.sin(np.arange(700) / 2.0)
    volumes[400::20] = 1_080.0
    far = Geometry(stop_atr=20.0, target_atr=20.0, horizon_bars=30)
    found = ran(log({"M0": bar_events("M0", closes, volumes)}), strategy(geometries=(far,)))
    made = of(found, d.DecisionMade)
    assert made
    for each in made:
        assert each.refusals[-1:] == (d.BAD_LEVELS,)
        assert each.chosen == -1
        assert min(each.stop, each.target) <= 0
    assert not of(found, OutcomeRecorded)


# The breaker


def test_the_breaker_closes_when_the_edge_breaks_and_opens_when_it_is_back() -> None:
    closes = []
    volumes = []
    for part, edge in enumerate((3e-4, -3e-4, 3e-4)):
        c, v = closes_and_volumes(40 + part, 10_000, edge=edge)
        closes.append(c / c[0])
        volumes.append(v)
    level = 100.0
    joined = []
    for c in closes:
        joined.append(c * level)
        level = joined[-1][-1]
    events = log({"M0": bar_events("M0", np.concatenate(joined), np.concatenate(volumes))})
    # It must not learn what it sees, or it would fall silent for other reasons.
    learning = Learning(
        least=60, least_effective=10.0, half_life=1e5, prior_weight=1e5, prior_skill=0.3, refit_ratio=100.0
    )
    found = of(ran(events, strategy(learning=learning, gate=Gate(threshold=0.5, margin=0.0))), d.DecisionMade)
    third = 10_000 * MINUTE
    start = found[0].time - found[0].time % third
    states = [(made.time, made.gate.is_closed) for made in found]
    assert any(closed for _, closed in states)
    first = next(time for time, closed in states if closed)
    assert first > start  # some evidence came first
    opened = [b for (_, a), (_, b) in pairwise(states) if a and not b]
    assert opened, "it opens again"
    closed = [made for made in found if made.gate.is_closed]
    assert all(d.BREAKER in made.refusals for made in closed)
    assert "breaker: " in closed[0].notes[-1]
    assert not found[-1].gate.is_closed


# Adaptations


def test_parameters_change_only_after_ten_bars_and_say_so() -> None:
    found = of(outputs(), d.ParametersAdapted)
    assert len(found) > 4
    for market in ("test:M0", "test:M1"):
        its = [each for each in found if each.instrument == market]
        for before, after in pairwise(its):
            assert before.after == after.before != after.after
            assert after.bar_start - before.bar_start >= ADAPT_BARS
        assert its[0].before == ""
        for each in its:
            adaptation = next((a for a in ADAPTATIONS if a.name == each.after), None)
            assert each.change == change_of(adaptation)


def test_decisions_name_the_parameters_that_count_at_their_bar() -> None:
    now = {"test:M0": "", "test:M1": ""}
    for output in outputs():
        if isinstance(output.event, d.ParametersAdapted):
            now[output.instrument] = output.event.after
        elif isinstance(output.event, d.DecisionMade):
            assert output.event.parameters == now[output.instrument]
    assert len({made.parameters for made in decided()}) > 1
