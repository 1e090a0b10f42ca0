"""The evidence of one signal: who decided it by what, what it claimed, and what the market made of it.

``evidence.json`` says which leaf has which role. Here it is shown that these are the events that belong
together, that the decision follows from its own numbers, and that the committed events of the market, with
none left out between the bar that was decided on and the event that closed it, give the outcome that was
recorded.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alphapulse.adapters.verifier.arithmetic import decision_again
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event
from alphapulse.adapters.verifier.market import MARKET_NAMES
from alphapulse.adapters.verifier.outcomes import claimed_of, differences_of_outcome, outcome_again
from alphapulse.adapters.verifier.slices import check_entry, check_slice, facts_in, slice_of, versions_in
from alphapulse.adapters.verifier.track import (
    DEFINED_NAME,
    ISSUED_NAME,
    OUTCOME_NAME,
    Shown,
    plain_numbers,
    shown_of,
)

EVIDENCE_FORMAT = "alphapulse-evidence-1"
_MAX_EVIDENCE_EVENTS = 100_000
_ROLE_NAMES = {
    "strategy": DEFINED_NAME,
    "calibration": "calibration.fitted.",
    "decision": "decision.made.",
    "signal": ISSUED_NAME,
    "closed": "signal.closed.",
    "outcome": OUTCOME_NAME,
}
_NEEDED_ROLES = ("strategy", "decision")
_OF_BOTH = (
    "decision",
    "strategy",
    "strategy_version",
    "instrument",
    "timeframe",
    "side",
    "time",
    "entry",
    "stop",
    "horizon_end",
    "position",
    "label",
)


class EvidenceBundle:
    """Keeps the events of an evidence bundle as they go by."""

    def __init__(self) -> None:
        self._by_leaf: dict[int, Event] = {}
        self._market: list[Event] = []

    def see(self, line: Event) -> bool:
        """Keep the next event; False where these are more than evidence of one signal has."""
        if len(self._by_leaf) >= _MAX_EVIDENCE_EVENTS:
            return False
        self._by_leaf[line.leaf] = line
        if line.name.startswith(MARKET_NAMES):
            self._market.append(line)
        return True

    def end(self, findings: Findings, evidence: dict[str, Any]) -> None:
        """Judge it. ``evidence`` is what evidence.json says. Raises one of NOT_ITS_NAME."""
        if evidence["format"] != EVIDENCE_FORMAT:
            findings.fault(f"evidence.json is not of the format {EVIDENCE_FORMAT}", None, "evidence.json")
            return
        roles = self._roles(findings, evidence["roles"])
        if any(roles.get(role) is None for role in _NEEDED_ROLES):
            return
        strategy, decision = roles["strategy"], roles["decision"]
        self._check_links(findings, roles)
        self._check_models(findings, roles, evidence["models"])
        self._check_told(findings, evidence, roles)
        calibration = roles.get("calibration")
        ledger = decision_again(
            decision.body, strategy.body, None if calibration is None else calibration.body
        )
        for difference in ledger.differences:
            findings.fault(
                f"the decision does not follow from its numbers: {difference}", decision.line.leaf, "event"
            )
        told = self._outcome(findings, roles)
        findings.say(f"{ledger.checked} numbers of the decision follow from those beside them")
        findings.facts["evidence"] = {
            "decision": decision.body["decision"],
            "numbers_derived": ledger.checked,
            "market_events": len(self._market),
            "outcome": told,
        }

    def _roles(self, findings: Findings, roles: dict[str, Any]) -> dict[str, Shown]:
        found = {}
        for role, name in _ROLE_NAMES.items():
            leaf = roles.get(role)
            line = None if leaf is None else self._by_leaf.get(leaf)
            if line is None:
                if leaf is not None or role in _NEEDED_ROLES:
                    findings.fault(f"evidence.json: its {role} is not here", leaf, role)
            elif not line.name.startswith(name):
                findings.fault(f"evidence.json: its {role} is a {line.name}", leaf, role)
            elif (shown := shown_of(line)).body is None:
                findings.miss(f"the body of its {role}", leaf)
            else:
                found[role] = shown
        return found

    def _check_links(self, findings: Findings, roles: dict[str, Shown]) -> None:
        """They are about one signal, and stand in the order in which they must have come about."""
        decision, strategy = roles["decision"], roles["strategy"]
        made = decision.body
        is_same = (made["strategy"], made["strategy_version"]) == (
            strategy.body["name"],
            strategy.body["version"],
        )
        if not is_same:
            findings.fault("the strategy is not the one that decided", strategy.line.leaf, "strategy")
        signal, outcome, closed = roles.get("signal"), roles.get("outcome"), roles.get("closed")
        if signal is not None:
            expected = {**{name: made[name] for name in _OF_BOTH}, "targets": [made["target"]]}
            expected.update(confidence=made["claim"]["confidence"], calibration=made["claim"]["calibration"])
            expected["models"] = sorted({vote["model"] for vote in made["votes"] if vote["model"]})
            _check_fields(findings, signal, expected, "its decision")
        if outcome is not None:
            expected = {name: made[name] for name in ("decision", "strategy_version", "instrument", "side")}
            if signal is not None:
                expected["number"] = signal.body["number"]
            _check_fields(findings, outcome, expected, "its decision")
        if closed is not None and outcome is not None:
            told = outcome.body["outcome"]
            pairs = (
                ("price", "fill_price"),
                ("net_bps", "net_bps"),
                ("reason", "reason"),
                ("time", "closed_at"),
            )
            _check_fields(findings, closed, {mine: told[its] for mine, its in pairs}, "its outcome")
        order = [roles.get(role) for role in ("strategy", "decision", "signal", "outcome", "closed")]
        leaves = [shown.line.leaf for shown in order if shown is not None]
        if leaves != sorted(leaves):
            findings.fault(
                f"strategy, decision, signal and outcome stand in the order {leaves}", None, "leaf"
            )

    def _check_models(self, findings: Findings, roles: dict[str, Shown], models: Sequence[Any]) -> None:
        """Every fitted model that voted is here, with its digest, and from before the decision."""
        named = {vote["model"] for vote in roles["decision"].body["votes"] if vote["model"]}
        here = {}
        for model in models:
            parts = [self._by_leaf.get(leaf) for leaf in model["leaves"]]
            bodies = [shown_of(line).body for line in parts if line is not None]
            if len(bodies) != len(model["leaves"]) or any(body is None for body in bodies):
                findings.fault(f"model {model['model']}: a part is not here", None, "models")
            elif any(body.get("digest") != model["digest"] for body in bodies):
                findings.fault(f"model {model['model']}: its digest is not {model['digest']}", None, "models")
            else:
                here[model["model"]] = max(model["leaves"], default=0)
        for name in sorted(named):
            if name not in here:
                findings.fault(f"model {name} voted, and is not here", roles["decision"].line.leaf, "models")
            elif here[name] > roles["decision"].line.leaf:
                findings.fault(f"model {name} is a leaf after the decision", here[name], "models")

    def _check_told(self, findings: Findings, evidence: dict[str, Any], roles: dict[str, Shown]) -> None:
        """What evidence.json says in its own words is what the events say; what is derived is labelled so."""
        made, signal, outcome = roles["decision"].body, roles.get("signal"), roles.get("outcome")
        expected = {
            "strategy": made["strategy"],
            "strategy_version": made["strategy_version"],
            "number": None if signal is None else signal.body["number"],
            "decision": made["decision"],
            "claimed": claims_of(made),
            "came_out": None if outcome is None else outcome.body["outcome"],
        }
        told = {name: plain_numbers(evidence[name]) for name in expected}
        features = plain_numbers(evidence["features"])
        expected["features"], told["features"] = features_said(made), features["of_the_decision"]
        expected["market"] = versions_in(slice_of(self._market, made["instrument"]))
        told["market"] = evidence["market"]["versions"]
        for name, value in expected.items():
            if told[name] != value:
                findings.fault(f"{name} is not what the events say", None, "evidence.json")
        for leaf in [*evidence["exits"], *(each["leaf"] for each in features["of_the_read_model"])]:
            if leaf not in self._by_leaf:
                findings.fault("evidence.json names it, and it is not here", leaf, "evidence.json")

    def _outcome(self, findings: Findings, roles: dict[str, Shown]) -> str:
        """equal, differs, open, or not recomputed; with the words for it said."""
        decision, outcome = roles["decision"], roles.get("outcome")
        lines = slice_of(self._market, decision.body["instrument"])
        last = None if outcome is None else outcome.body["outcome"]["position"]
        check_slice(findings, lines, decision.body, last)
        facts = facts_in(findings, lines)
        if facts is None:
            return "not recomputed"
        check_entry(findings, decision, facts)
        again = outcome_again(claimed_of(decision.body, roles["strategy"].body), facts)
        if outcome is None:
            # What follows at the end of a checkpoint may have been recorded after it.
            gives = "leave it open" if again is None else f"give {again['reason']}, which is not here yet"
            findings.say(f"{len(facts)} events of the market {gives}")
            return "open"
        return _compared(findings, outcome, again, len(facts))


def _compared(findings: Findings, outcome: Shown, again: dict[str, Any] | None, events: int) -> str:
    told = outcome.body["outcome"]
    differences = ["the market's events leave it open"]
    if again is not None:
        differences = differences_of_outcome(told, again)
    for difference in differences:
        text = f"the outcome is not what the market's events give: {difference}"
        findings.fault(text, outcome.line.leaf, "outcome")
    if differences:
        return "differs"
    findings.say(
        f"{events} events of the market give the outcome as it was recorded: {told['reason']} at"
        f" {told['exit_price']!r}, {told['net_bps']:+.2f} bps net, R {told['r_multiple']:+.2f}"
    )
    return "equal"


def claims_of(made: dict[str, Any]) -> dict[str, Any]:
    """What a DecisionMade claims, as evidence.json says it."""
    names = ("verdict", "side", "entry", "stop", "target")
    return {
        **{name: made[name] for name in names},
        "confidence": made["claim"]["confidence"],
        "decided": str(made["time"]),
        "horizon_end": str(made["horizon_end"]),
    }


def features_said(made: dict[str, Any]) -> dict[str, Any]:
    """What a DecisionMade says of its bar, as evidence.json says it."""
    return {
        "from": "the event of the decision, which is committed",
        "close": made["entry"],
        "average_true_range": made["average_true_range"],
        "regime": made["regime"],
        "flags": made["flags"],
        "votes": {vote["voter"]: vote["reasons"] for vote in made["votes"]},
    }


def _check_fields(findings: Findings, shown: Shown, expected: dict[str, Any], whose: str) -> None:
    for name, value in expected.items():
        if shown.body.get(name) != value:
            text = f"{name} is {shown.body.get(name)!r}, by {whose} it is {value!r}"
            findings.fault(text, shown.line.leaf, name)
