"""The market slice of a bundle of evidence: are these all events of the market that it needs.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event
from alphapulse.adapters.verifier.market import BARS_NAME, MINUTE_NS, TRADES_NAME, MarketFact
from alphapulse.adapters.verifier.track import Shown, shown_of


def slice_of(market: Sequence[Event], instrument: str) -> list[Event]:
    """Those of ``market`` that are of ``instrument`` (venue:symbol)."""
    venue, _, symbol = instrument.partition(":")
    streams = (f"trades-{venue}-{symbol}", f"feed-{venue}-{symbol}")
    bars = f"bars-{venue}-{symbol}-"
    return [line for line in market if line.stream in streams or line.stream.startswith(bars)]


def versions_in(lines: Sequence[Event]) -> dict[str, list[int]]:
    """First and last version of each stream."""
    found: dict[str, list[int]] = {}
    for line in lines:
        found.setdefault(line.stream, [line.version, line.version])[1] = line.version
    return found


def check_slice(findings: Findings, lines: Sequence[Event], made: dict[str, Any], last: int | None) -> None:
    """Nothing was left out: versions of each stream follow one another, from before the bar on.

    ``made`` is the DecisionMade, ``last`` the position of the event that decided the outcome.
    """
    positions = {line.position for line in lines}
    for what, position in (("ended the bar", made["position"]), ("decided the outcome", last)):
        if position is not None and position not in positions:
            text = f"the event that {what}, at position {position}, is not in the slice of the market"
            findings.fault(text, None, "market")
    ends: dict[str, Event] = {}
    for line in lines:
        before = ends.get(line.stream)
        if before is None:
            _check_beginning(findings, line, int(made["bar_start"]) * MINUTE_NS)
        elif line.version != before.version + 1:
            text = f"versions {before.version + 1} to {line.version - 1} of {line.stream} are left out"
            findings.fault(text, line.leaf, "market")
        ends[line.stream] = line
    for stream, line in sorted(ends.items()):
        if last is not None and line.position < last:
            findings.say(f"that {stream} has no more than version {line.version} by then is the log's word")


def _check_beginning(findings: Findings, line: Event, start: int) -> None:
    """The first event of a stream in the slice is its first of all, or from before the bar."""
    if line.version > 1 and (line.event_time is None or line.event_time >= start):
        text = f"the slice begins with version {line.version} of {line.stream}, after the bar began"
        findings.fault(text, line.leaf, "market")


def facts_in(findings: Findings, lines: Sequence[Event]) -> list[MarketFact] | None:
    """What the market's events say; None where their bytes could not be read here."""
    facts = []
    for line in lines:
        body = shown_of(line).body
        if body is None:
            text = "what an event of the market says (without zstd it was hashed, not decoded)"
            findings.miss(text, line.leaf)
            findings.say("the outcome was not derived again: give this Python the package zstandard")
            return None
        facts.append(MarketFact(line.position, line.stream, line.name, body))
    return facts


def check_entry(findings: Findings, decision: Shown, facts: Sequence[MarketFact]) -> None:
    """The entry is a price at which the bar may have closed, by events from before the decision."""
    made = decision.body
    start = int(made["bar_start"]) * MINUTE_NS
    end = start + int(made["timeframe"]) * MINUTE_NS
    for fact in facts:
        if fact.position > made["position"]:
            break
        if fact.name.startswith(TRADES_NAME):
            times, prices = fact.event["columns"]["time"], fact.event["columns"]["price"]
        elif fact.name.startswith(BARS_NAME):
            times, prices = fact.event["columns"]["start"], fact.event["columns"]["close"]
        else:
            continue
        rows = range(len(times))
        if any(start <= int(times[row]) < end and float(prices[row]) == made["entry"] for row in rows):
            return
    text = f"no event of the market has the entry {made['entry']!r} in the bar that was decided on"
    findings.fault(text, decision.line.leaf, "entry")
