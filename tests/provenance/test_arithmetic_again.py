"""The verifier derives a decision's arithmetic again, and finds any number of it that was changed."""

from functools import cache
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.verifier.arithmetic import decision_again
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade
from alphapulse.domain.decision.strategy import Geometry
from alphapulse.domain.signals.engine import Engine
from tests.domain.signals.engine_world import ADAPTATIONS, strategy, world

DEFINED = strategy(
    adaptations=ADAPTATIONS,
    geometries=(
        Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=30),
        Geometry(stop_atr=1.05, target_atr=1.65, horizon_bars=30, to_levels=True),
    ),
)


def plain(event: Any) -> dict[str, Any]:
    return dict(msgspec.json.decode(msgspec.json.encode(event)))


@cache
def decided() -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """Decisions of a market with an edge, and its calibrations by number."""
    events = [output.event for output in Engine(DEFINED).advance(world(bars=2_500, edge=3e-4))]
    made = [plain(event) for event in events if isinstance(event, DecisionMade)]
    tables = {event.number: plain(event) for event in events if isinstance(event, CalibrationFitted)}
    return made, tables


def test_every_decision_follows_from_the_numbers_beside_it() -> None:
    made, tables = decided()
    assert {each["verdict"] for each in made} == {"issued", "refused"}
    assert len({refusal for each in made for refusal in each["refusals"]}) >= 3
    for each in made:
        ledger = decision_again(each, plain(DEFINED), tables.get(each["claim"]["calibration"]))
        assert ledger.differences == []
        assert ledger.checked > 20


# What somebody might wish to have decided: each is found, and named.
CHANGES: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "weight of b": (("votes", 1, "weight"), 0.9),
    "consensus": (("consensus",), 0.99),
    "disagreement": (("disagreement",), 0.0),
    "voters": (("voters",), 9.0),
    "skill of a": (("votes", 0, "skill"), 0.9),
    "side": (("side",), -7),
    "stop": (("stop",), 1.0),
    "horizon_end": (("horizon_end",), 1),
    "proposed target": (("proposed", 0, "target"), 1e3),
    "expected_bps": (("proposed", 0, "expected_bps"), 1e4),
    "raw odds": (("proposed", 0, "raw"), 4.0),
    "confidence": (("claim", "confidence"), 0.97),
    "gate: threshold": (("gate", "threshold"), 0.1),
    "gate: required margin": (("gate", "required_margin"), -1.0),
    "gate: needed": (("gate", "needed"), 0.1),
    "gate: margin": (("gate", "margin"), 0.7),
    "gate: upper bound of the win rate": (("gate", "upper_bound"), 0.99),
    "gate: breaker is closed": (("gate", "is_closed"), True),
    "verdict": (("verdict",), "refused"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_number_that_was_changed_is_named(what: str) -> None:
    made, tables = decided()
    issued = next(each for each in made if each["verdict"] == "issued" and each["chosen"] == 0)
    path, value = CHANGES[what]
    changed: Any = msgspec.json.decode(msgspec.json.encode(issued))
    place = changed
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != value
    place[path[-1]] = value
    found = decision_again(changed, plain(DEFINED), tables[issued["claim"]["calibration"]]).differences
    assert what in [each.partition(": recorded")[0] for each in found], found


def test_a_signal_below_its_gate_is_named() -> None:
    """Also where every number fits: the verdict follows from them."""
    made, tables = decided()
    refused = next(each for each in made if "low_confidence" in each["refusals"])
    table = tables[refused["claim"]["calibration"]]
    found = decision_again({**refused, "verdict": "issued", "refusals": []}, plain(DEFINED), table)
    assert "refused for low confidence" in [each.partition(":")[0] for each in found.differences]


def test_a_claim_of_another_table_is_named() -> None:
    made, tables = decided()
    issued = next(each for each in made if each["verdict"] == "issued")
    table = tables[issued["claim"]["calibration"]]
    other = {**table, "p": [p / 2 for p in table["p"]], "number": 77}
    found = decision_again(issued, plain(DEFINED), other).differences
    assert [each.partition(": recorded")[0] for each in found] == [
        "claim: number of the calibration",
        "confidence",
    ]
