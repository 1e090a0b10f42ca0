"""Decisions of a strategy with many voters and what became of them, made up, as a log of events."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.decisions import REFUSED, CastVote, DecisionMade
from alphapulse.domain.decision.strategy import VoterChoice
from alphapulse.domain.ports import NewEvent
from alphapulse.projections.read_model import AnyReadModel
from tests.decided_log import fold
from tests.decision_events import closed, decision, issued, like_sample, outcome, stream_of

VOTERS = (
    VoterChoice(name="trend", kind="technical.trend"),
    VoterChoice(name="candles", kind="technical.patterns_single"),
    VoterChoice(name="moves", kind="statistical.momentum"),
    VoterChoice(name="mine", kind="mine.own"),
    *(VoterChoice(name=f"level {n}", kind="technical.levels") for n in range(12)),
)
REGIMES = ("range", "trend_up", "turbulence")


def votes(r: random.Random, side: int, count: int) -> tuple[CastVote, ...]:
    """The first ``count`` of VOTERS vote, for ``side`` on the whole; the rest abstain."""
    weights = [r.random() + 0.1 for _ in range(count)]
    cast = []
    for n, seat in enumerate(VOTERS):
        votes = n < count
        sample: CastVote = like_sample("decision.made.v1").votes[0]
        fields = {
            "voter": seat.name,
            "direction": (side if n == 0 or r.random() < 0.8 else -side) if votes else 0,
            "score": (0.9 if n == 0 else r.random() * 0.5) if votes else 0.0,
            "weight": weights[n] / sum(weights) if votes else 0.0,
            "reasons": (f"{r.choice(['hammer', 'takuri'])}: right 0.6 of the time",) if n == 1 else ("why",),
        }
        cast.append(msgspec.structs.replace(sample, **fields))
    return tuple(cast)


def candidate(r: random.Random, n: int, strategy: str, version: int, *, is_refused: bool) -> DecisionMade:
    market, side = f"{r.choice(['test', 'other'])}:M{n % 3}", r.choice([1, -1])
    return decision(
        n,
        strategy=strategy,
        strategy_version=version,
        confidence=0.6 + r.random() * 0.3,
        decision=f"{strategy}.{version}/{market}/5/{n * 5}",
        instrument=market,
        side=side,
        entry=100.0 + n,
        regime=r.choice(REGIMES),
        votes=votes(r, side, r.choice([1, 2, 5, 12, 14])),
        **(
            {"verdict": REFUSED, "refusals": ("low_confidence",), "size_ratio": 0.0}
            if is_refused
            else {"size_ratio": 0.1 + r.random()}
        ),
    )


def story(strategy: str, seed: int, count: int = 60) -> list[Any]:
    """A strategy of two versions: two thirds of its candidates are issued, most of all are resolved."""
    r, number = random.Random(f"{strategy} {seed}"), 0
    told: list[Any] = [
        like_sample("strategy.defined.v1", name=strategy, version=version, voters=VOTERS)
        for version in (1, 2)
    ]
    for n in range(1, count + 1):
        is_refused = n % 3 == 0
        made = candidate(r, n, strategy, 1 + 2 * n // (count + 1), is_refused=is_refused)
        number += not is_refused
        became = outcome(made, won=r.random() < 0.5, number=0 if is_refused else number)
        told += [made] if is_refused else [made, issued(made, number)]
        if n % 7:
            told += [became] if is_refused else [became, closed(became)]
    return told


def mixed(stories: Sequence[Sequence[Any]], seed: int) -> list[NewEvent]:
    """One log of all of them, each in its order."""
    r, left, versions = random.Random(seed), [list(told) for told in stories], dict[str, int]()
    events = []
    while any(left):
        event = r.choice([each for each in left if each]).pop(0)
        stream = stream_of(event)
        versions[stream] = versions.get(stream, 0) + 1
        events.append(codec.new_event(stream, versions[stream], event))
    return events


async def told(url: str, *models: AnyReadModel) -> None:
    """Two stories in the log at ``url``, and ``models``, or all that decisions are read from, folded."""
    async with PostgresEventStore(url) as store:
        events = mixed([story("trial", 1), story("other", 2)], 3)
        for n in range(0, len(events), 100):  # as many as one commit takes
            await store.append(events[n : n + 100])
    await fold(url, *models)
