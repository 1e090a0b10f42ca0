"""Outcomes once more, from the recorded events of their market alone."""

from dataclasses import dataclass

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import EventStore
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.rederivation import Open, outcome_of, resolve
from alphapulse.processes.instrument_log import open_logs

MAX_EVENTS = 1_000_000  # of one market


class TooMuchToVerify(Exception):
    """The market has more events than are looked at: the message says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """``recorded`` is None while the log has no outcome; ``differences`` are of ``derived`` from it.

    ``hindsight``: with all that was recorded of the market since, in its own order.
    """

    recorded: Outcome | None
    derived: Outcome | Open
    hindsight: Outcome | Open
    differences: tuple[str, ...]
    events: int


def idea_of(made: DecisionMade, strategy: StrategyDefined) -> Idea:
    """What was watched."""
    return Idea(
        side=made.side,
        entry=made.entry,
        stop=made.stop,
        target=made.target,
        decided=made.time,
        horizon_end=made.horizon_end,
        fee_bps=strategy.risk.fee_bps,
        slippage_bps=strategy.risk.slippage_bps,
    )


async def verify_outcome(
    store: EventStore, made: DecisionMade, strategy: StrategyDefined, recorded: Outcome | None
) -> Verified:
    """What the recorded events of the market make of ``made``, beside what was ``recorded``.

    Raises:
        TooMuchToVerify: over MAX_EVENTS events.
        BadIdea: nothing can become of it.
    """
    events = await _events(store, made.instrument)
    idea = idea_of(made, strategy)
    derived = outcome_of(idea, events)
    return Verified(
        recorded=recorded,
        derived=derived,
        hindsight=resolve(idea, events),
        differences=_differences(recorded, derived),
        events=len(events),
    )


async def _events(store: EventStore, instrument: str) -> list[tuple[int, Fed]]:
    (log,) = await open_logs(store, await store.head(), [instrument])
    found: list[tuple[int, Fed]] = []
    while records := await log.pull(store):
        found += [
            (record.position, event)
            for record in records
            if isinstance(event := codec.decode(record).event, Fed)
        ]
        if len(found) > MAX_EVENTS:
            raise TooMuchToVerify(f"{instrument} has over {MAX_EVENTS:,} events")
    return found


def _differences(recorded: Outcome | None, derived: Outcome | Open) -> tuple[str, ...]:
    if recorded is None:
        return () if isinstance(derived, Open) else (f"recorded is nothing, the events say {derived.reason}",)
    if isinstance(derived, Open):
        return (f"recorded is {recorded.reason}, the events leave it open",)
    was, now = msgspec.structs.asdict(recorded), msgspec.structs.asdict(derived)
    return tuple(
        f"{name}: recorded {was[name]!r}, derived {now[name]!r}" for name in was if was[name] != now[name]
    )
