"""The arithmetic of a decision, once more: from its votes to its consensus, its claim and its gate.

What an event holds is derived again from the numbers beside it: weights from skills and crowds, the consensus
from votes and weights, odds from levels, the claim from its calibration's table, the gate from claim, levels
and costs. Not derived are skills and crowds, which sum up outcomes and rows of years, and what voters said.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from math import isclose, log, sqrt
from typing import Any

_Z95 = 1.959963984540054
_NEAR = 1e-9


class Ledger:
    """Numbers that were recorded beside what they should be."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.checked = 0

    def number(self, what: str, recorded: Any, derived: float) -> None:
        self.checked += 1
        if not isclose(float(recorded), derived, rel_tol=_NEAR, abs_tol=_NEAR):
            self.differences.append(f"{what}: recorded {recorded!r}, the numbers beside it give {derived!r}")

    def fact(self, what: str, recorded: Any, derived: Any) -> None:
        self.checked += 1
        if recorded != derived:
            self.differences.append(f"{what}: recorded {recorded!r}, it should be {derived!r}")


def decision_again(
    made: dict[str, Any], strategy: dict[str, Any], calibration: dict[str, Any] | None
) -> Ledger:
    """What differs in the payload of a DecisionMade from what follows from its own numbers.

    ``strategy`` is the StrategyDefined of its version, ``calibration`` the CalibrationFitted that it names.

    Raises:
        KeyError, ValueError, TypeError, ArithmeticError: a payload is not what its name says.
    """
    ledger = Ledger()
    _opinion(ledger, made, strategy)
    _levels(ledger, made, strategy)
    _claim(ledger, made, calibration)
    _gate(ledger, made, strategy)
    return ledger


def _opinion(ledger: Ledger, made: dict[str, Any], strategy: dict[str, Any]) -> None:
    prior_weight = strategy["learning"]["prior_weight"]
    votes = made["votes"]
    voting = [vote for vote in votes if vote["direction"] != 0]
    for vote in votes:
        count = vote["outcomes"] + prior_weight
        if count > 0:
            skill = (vote["outcomes"] * vote["measured"] + prior_weight * vote["prior"]) / count
            ledger.number("skill of " + vote["voter"], vote["skill"], skill)
    shares = [max(vote["skill"], 0.0) / vote["crowd"] for vote in voting]
    if sum(shares) == 0:
        shares = [1.0 / vote["crowd"] for vote in voting]
    consensus, total = 0.0, sum(shares)
    for vote, share in zip(voting, shares):
        ledger.number("weight of " + vote["voter"], vote["weight"], share / total)
        consensus += share / total * vote["direction"] * vote["score"]
    spread = sum(v["weight"] * (v["direction"] * v["score"] - consensus) ** 2 for v in voting)
    voters = sum(1.0 / vote["crowd"] for vote in voting)
    ledger.number("consensus", made["consensus"], consensus)
    ledger.number("disagreement", made["disagreement"], sqrt(spread))
    ledger.number("voters", made["voters"], voters)
    ledger.fact("side", made["side"], 1 if consensus > 0 else -1)
    least = strategy["min_consensus"] + _changed(strategy, made["parameters"], "consensus", 0.0)
    ledger.fact("consensus reaches the least", True, abs(consensus) >= least - _NEAR)
    ledger.fact("voters reach the quorum", True, voters >= strategy["quorum"] - _NEAR)


def _levels(ledger: Ledger, made: dict[str, Any], strategy: dict[str, Any]) -> None:
    best, chosen = float("-inf"), -1
    for at, found in enumerate(made["proposed"]):
        geometry = strategy["geometries"][at]
        if not geometry["to_levels"]:
            _distances(ledger, made, strategy, geometry, found)
        if found["base"] == 0:
            continue  # its levels made no sense
        risk, gain = _risk_and_gain(made, found["stop"], found["target"])
        raw = log(risk / gain) + strategy["sharpness"] * abs(made["consensus"])
        odds = 1 / (1 + 2.718281828459045**-raw)
        cost = _costs(strategy) * made["entry"]
        ledger.number("base", found["base"], risk / (risk + gain))
        ledger.number("raw odds", found["raw"], raw)
        expected = (odds * gain - (1 - odds) * risk - cost) / made["entry"] * 1e4
        ledger.number("expected_bps", found["expected_bps"], expected)
        if found["expected_bps"] > best:
            best, chosen = found["expected_bps"], at
    ledger.fact("chosen", made["chosen"], chosen)
    if chosen >= 0:
        for name in ("stop", "target", "horizon_end"):
            ledger.fact(name, made[name], made["proposed"][chosen][name])


def _distances(
    ledger: Ledger,
    made: dict[str, Any],
    strategy: dict[str, Any],
    geometry: dict[str, Any],
    found: dict[str, Any],
) -> None:
    """Levels that are not drawn to swing points are average true ranges away."""
    for name, way in (("stop", -1), ("target", 1)):
        factor = geometry[name + "_atr"] * _changed(strategy, made["parameters"], name, 1.0)
        away = made["side"] * way * factor * made["average_true_range"]
        ledger.number("proposed " + name, found[name], made["entry"] + away)


def _claim(ledger: Ledger, made: dict[str, Any], calibration: dict[str, Any] | None) -> None:
    claim = made["claim"]
    if claim["calibration"] == 0 or made["chosen"] < 0:
        return
    chosen = made["proposed"][made["chosen"]]
    raw, base = claim["raw"], log(chosen["base"] / (1 - chosen["base"]))
    asks_base = not isclose(raw, chosen["raw"], rel_tol=_NEAR, abs_tol=_NEAR)
    if asks_base:
        ledger.number("claim: log-odds that the table is asked with", raw, base)
    x, p = (claim["x0"], claim["x1"]), (claim["p0"], claim["p1"])
    if calibration is not None:
        ledger.fact("claim: number of the calibration", claim["calibration"], calibration["number"])
        x, p = tuple(calibration["x"]), tuple(calibration["p"])
    ledger.number("confidence", claim["confidence"], looked_up(x, p, raw))


def looked_up(x: tuple[float, ...], p: tuple[float, ...], at: float) -> float:
    """A table of knots at ``at``: straight lines between, the end knots' values beyond."""
    if at <= x[0]:
        return p[0]
    for left in range(len(x) - 1):
        if x[left] <= at < x[left + 1]:
            return min(
                p[left] + (at - x[left]) / (x[left + 1] - x[left]) * (p[left + 1] - p[left]), p[left + 1]
            )
    return p[-1]


def _gate(ledger: Ledger, made: dict[str, Any], strategy: dict[str, Any]) -> None:
    gate, rules, confidence = made["gate"], strategy["gate"], made["claim"]["confidence"]
    ledger.number("gate: threshold", gate["threshold"], rules["threshold"])
    ledger.number("gate: required margin", gate["required_margin"], rules["margin"])
    if made["chosen"] >= 0:
        risk, gain = _risk_and_gain(made, made["stop"], made["target"])
        ledger.number(
            "gate: needed", gate["needed"], (risk + _costs(strategy) * made["entry"]) / (risk + gain)
        )
    ledger.number("gate: margin", gate["margin"], confidence - gate["needed"])
    bound = _upper_bound(gate["wins"], gate["outcomes"])
    ledger.number("gate: upper bound of the win rate", gate["upper_bound"], bound)
    mutes = gate["outcomes"] >= rules["breaker_outcomes"] and bound < gate["mean_claim"]
    ledger.fact("gate: breaker is closed", gate["is_closed"], mutes)
    refused = set(made["refusals"])
    ledger.fact("verdict", made["verdict"], "refused" if refused else "issued")
    ledger.fact("refused for its breaker", "breaker" in refused, mutes)
    if made["claim"]["calibration"] > 0 and made["chosen"] >= 0:
        ledger.fact("refused for low confidence", "low_confidence" in refused, confidence < gate["threshold"])
        ledger.fact(
            "refused since it does not pay",
            "does_not_pay" in refused,
            gate["margin"] < gate["required_margin"],
        )
    else:
        ledger.fact("issued without a claim", made["verdict"] == "issued", False)


def _upper_bound(wins: float, outcomes: float) -> float:
    """Of the win rate: Wilson's interval, 95 %; 1 where nothing was told."""
    if outcomes <= 0:
        return 1.0
    rate, z = wins / outcomes, _Z95 * _Z95 / outcomes
    half = _Z95 * sqrt(rate * (1 - rate) / outcomes + z / (4 * outcomes))
    return (rate + z / 2 + half) / (1 + z)


def _risk_and_gain(made: dict[str, Any], stop: float, target: float) -> tuple[float, float]:
    return made["side"] * (made["entry"] - stop), made["side"] * (target - made["entry"])


def _costs(strategy: dict[str, Any]) -> float:
    """Of a trade, as a share of the entry."""
    risk = strategy["risk"]
    return float((2 * risk["fee_bps"] + risk["slippage_bps"]) / 1e4)


def _changed(strategy: dict[str, Any], parameters: str, name: str, otherwise: float) -> float:
    """What the adaptation in force makes of ``name``."""
    for adaptation in strategy["adaptations"]:
        if adaptation["name"] == parameters:
            return float(adaptation["change"].get(name, otherwise))
    return otherwise
