"""The evidence of one signal as one file: who decided it, what it claimed, what the market made of it.

A bundle of kind ``evidence``: the events that belong together, the market from the bar that was decided on up
to the event that closed it, and ``evidence.json``, which says which leaf has which role. Whoever verifies it
derives decision and outcome again; docs/track-record.md says what that proves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.verifier.evidence import EVIDENCE_FORMAT, claims_of, features_said
from alphapulse.domain.analysis.models import ModelFitted
from alphapulse.domain.analysis.models import stream_of as model_stream
from alphapulse.domain.decision.decisions import (
    CalibrationFitted,
    DecisionMade,
    calibration_stream,
)
from alphapulse.domain.decision.decisions import stream_of as decisions_stream
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.ports import EventStore, Recorded, partition_of
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.sealing import SealedLog
from alphapulse.domain.provenance.selection import Selection
from alphapulse.domain.signals.signal import ExitRecommended, OutcomeRecorded, SignalClosed, SignalIssued
from alphapulse.domain.signals.signal import stream_of as signals_stream
from alphapulse.processes.audit_checkpoint import NotSealed
from alphapulse.processes.audit_chosen import NoSuchSignal
from alphapulse.processes.auditing import Exported, export
from alphapulse.processes.evidence_features import FeaturesOf, SetValues, no_features
from alphapulse.processes.market_slice import MarketSlice, market_slice

_PAGE = 500


@dataclass(slots=True, kw_only=True)
class Gathered:
    """The events of one decision, with their places."""

    decision: Recorded
    strategy: Recorded
    calibration: Recorded | None = None
    signal: Recorded | None = None
    exits: list[Recorded] = field(default_factory=list)
    closed: Recorded | None = None
    outcome: Recorded | None = None
    models: dict[str, list[Recorded]] = field(default_factory=dict)  # parts, by name.version

    @property
    def made(self) -> DecisionMade:
        made: DecisionMade = self.decision.event
        return made

    def roles(self) -> Mapping[str, Recorded]:
        """The single ones that are there."""
        names = ("strategy", "calibration", "decision", "signal", "closed", "outcome")
        return {name: found for name in names if (found := getattr(self, name)) is not None}

    def positions(self) -> set[int]:
        parts = [part for model in self.models.values() for part in model]
        return {each.position for each in (*self.roles().values(), *self.exits, *parts)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """``told`` is what evidence.json says; ``market`` the slice that is in it."""

    exported: Exported
    told: Mapping[str, Any]
    market: MarketSlice


async def evidence(
    log: EventStore,
    seals: SealedLog,
    signal: str,
    out: Path,
    *,
    key: NoteKey,
    features: FeaturesOf = no_features,
    actor: str | None = None,
) -> Evidence:
    """Write the evidence of ``signal`` (strategy/number, or the id of a decision) to ``out``.

    Raises:
        NoSuchSignal: there is none that is sealed.
        NotSealed: nothing is.
        SliceTooLarge: see market_slice.
        ExportTooLarge, OtherExport, NotItsLeaf: see export.
    """
    sealed = await seals.sealed()
    if sealed is None:
        raise NotSealed("nothing is sealed yet: run the role seal")
    found = await gather(log, signal, sealed.position)
    market = await market_slice(log, found.made, found.strategy.event, found.outcome, sealed.position)
    sets = [each for each in await features(found.made) if each.position <= sealed.position]
    told = await _told(seals, found, market, sets)
    positions = sorted(found.positions() | market.positions | {each.position for each in sets})
    members = {"evidence.json": msgspec.json.format(msgspec.json.encode(told), indent=1)}
    made = await export(
        log,
        seals,
        Selection(),
        out,
        key=key,
        kind="evidence",
        positions=positions,
        members=members,
        actor=actor,
    )
    return Evidence(exported=made, told=told, market=market)


async def gather(log: EventStore, signal: str, last: int) -> Gathered:
    """The events of ``signal`` up to position ``last``.

    Raises:
        NoSuchSignal: there is none.
    """
    issued, decision = await _named(log, signal, last)
    decided = await _decided(log, decision, last)
    made = next((each for each in decided if isinstance(each.event, DecisionMade)), None)
    strategy = made and await _version(log, made.event, last)
    if made is None or strategy is None:
        raise NoSuchSignal(f"no decision {decision!r} in the log up to position {last}")
    outcome = next((each for each in decided if isinstance(each.event, OutcomeRecorded)), None)
    found = Gathered(decision=made, strategy=strategy, signal=issued, outcome=outcome)
    found.calibration = await _calibration(log, made.event, strategy.event.parts, last)
    for vote in made.event.votes:
        if vote.model and vote.model not in found.models:
            found.models[vote.model] = await _model(log, vote.model, last)
    await _add_life(log, found, last)
    return found


async def _named(log: EventStore, signal: str, last: int) -> tuple[Recorded | None, str]:
    """The signal, where it is one, and the id of its decision."""
    strategy, _, number = signal.partition("/")
    if number.isascii() and number.isdigit():
        for each in await _read(log, signals_stream(strategy), last):
            if isinstance(each.event, SignalIssued) and each.event.number == int(number):
                return each, each.event.decision
        raise NoSuchSignal(f"strategy {strategy!r} has issued no signal {number} up to position {last}")
    return None, signal


async def _decided(log: EventStore, decision: str, last: int) -> list[Recorded]:
    """All that names the decision in the stream of its market."""
    named, _, rest = decision.partition("/")
    strategy, _, version = named.rpartition(".")
    instrument = rest.rsplit("/", 2)[0]
    if not strategy or not version.isdigit() or ":" not in instrument:
        raise NoSuchSignal(f"{decision!r} is neither <strategy>/<number> nor the id of a decision")
    stream = decisions_stream(instrument, strategy, int(version))
    return [e for e in await _read(log, stream, last) if getattr(e.event, "decision", None) == decision]


async def _version(log: EventStore, made: DecisionMade, last: int) -> Recorded | None:
    for each in await _read(log, strategy_stream(made.strategy), last):
        if isinstance(each.event, StrategyDefined) and each.event.version == made.strategy_version:
            return each
    return None


async def _calibration(log: EventStore, made: DecisionMade, parts: int, last: int) -> Recorded | None:
    """The one that the claim names, of the part of the log that the market falls in."""
    part = partition_of(decisions_stream(made.instrument, made.strategy, made.strategy_version), parts)
    stream = calibration_stream(made.strategy, made.strategy_version, part)
    for each in await _read(log, stream, last):
        if isinstance(each.event, CalibrationFitted) and each.event.number == made.claim.calibration:
            return each
    return None


async def _model(log: EventStore, model: str, last: int) -> list[Recorded]:
    """The parts of a fitted model."""
    name, _, version = model.rpartition(".")
    found = await _read(log, model_stream(name), last)
    return [e for e in found if isinstance(e.event, ModelFitted) and e.event.version == int(version)]


async def _add_life(log: EventStore, found: Gathered, last: int) -> None:
    """What happened to the signal, and the signal itself where only its decision was named."""
    for each in await _read(log, signals_stream(found.made.strategy), last):
        event = each.event
        if isinstance(event, SignalIssued) and event.decision == found.made.decision:
            found.signal = each
        elif found.signal is None or event.number != found.signal.event.number:
            continue
        elif isinstance(event, ExitRecommended):
            found.exits.append(each)
        elif isinstance(event, SignalClosed):
            found.closed = each


async def _read(log: EventStore, stream: str, last: int) -> list[Recorded]:
    found: list[Recorded] = []
    version = 0
    while records := await log.read_stream(stream, after=version, limit=_PAGE):
        version = records[-1].version
        found += [codec.decode(record) for record in records if record.position <= last and record.state]
        if records[-1].position > last:
            break
    return found


async def _told(
    seals: SealedLog, found: Gathered, market: MarketSlice, sets: Sequence[SetValues]
) -> Mapping[str, Any]:
    """What evidence.json says."""
    made = found.made
    plain = msgspec.to_builtins(made)
    return {
        "format": EVIDENCE_FORMAT,
        "strategy": made.strategy,
        "strategy_version": made.strategy_version,
        "number": found.signal.event.number if found.signal else None,
        "decision": made.decision,
        "roles": {role: await _leaf(seals, each) for role, each in found.roles().items()},
        "exits": [await _leaf(seals, each) for each in found.exits],
        "models": [await _model_told(seals, name, parts) for name, parts in found.models.items()],
        "market": _market_told(made, market),
        "features": {
            "of_the_decision": features_said(plain),
            "of_the_read_model": [await _set_told(seals, each) for each in sets],
            "code_versions": found.strategy.event.code_versions,
        },
        "claimed": claims_of(plain),
        "came_out": None if found.outcome is None else msgspec.to_builtins(found.outcome.event.outcome),
    }


async def _model_told(seals: SealedLog, name: str, parts: Sequence[Recorded]) -> Mapping[str, Any]:
    return {
        "model": name,
        "digest": parts[0].event.digest if parts else "",
        "leaves": [await _leaf(seals, part) for part in parts],
    }


def _market_told(made: DecisionMade, market: MarketSlice) -> Mapping[str, Any]:
    return {
        "instrument": made.instrument,
        "from_position": market.first,
        "to_position": market.last,
        "events": len(market.positions),
        "is_from_the_beginning": market.is_whole,
        "versions": {stream: list(versions) for stream, versions in market.versions.items()},
    }


async def _set_told(seals: SealedLog, of: SetValues) -> Mapping[str, Any]:
    return {
        "from": "the features read model, which is derived and not committed",
        "set": of.name,
        "version": of.version,
        "digest": of.digest,
        "leaf": await seals.leaf_after(of.position - 1),
        "known_time": str(of.known_time),
        "values": of.values,
    }


async def _leaf(seals: SealedLog, recorded: Recorded) -> int:
    return await seals.leaf_after(recorded.position - 1)
