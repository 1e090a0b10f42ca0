"""Strategies into the log: define, retire, the default one, and strategies in files."""

from dataclasses import dataclass
from pathlib import Path

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import (
    DefineStrategy,
    RetireStrategy,
    strategy,
    stream_for,
)
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.decision.strategy_text import from_content
from alphapulse.domain.ports import EventStore
from alphapulse.domain.versions import Versions
from alphapulse.processes.definition_files import read_definition
from alphapulse.processes.transact import load, transact


@dataclass(frozen=True, slots=True)
class Defined:
    """``position`` is None where the version was there before."""

    version: int
    digest: str
    label: str
    position: int | None


async def define(store: EventStore, command: DefineStrategy, *, actor: str = "system") -> Defined:
    """The version that has the content of ``command``: a new one, unless one in use has it already.

    Raises:
        BadStrategy: it cannot be defined; the message holds the values.
    """
    stream = stream_for(command.name)
    events = await transact(store, strategy, stream, command, actor=actor)
    if events:
        (recorded,) = events
        return Defined(recorded.event.version, recorded.event.digest, recorded.event.label, recorded.position)
    (complete,) = strategy.decide(command, Versions())
    assert isinstance(complete, StrategyDefined)
    versions, _ = await load(store, strategy, stream)
    version = versions.in_use(complete.digest)
    assert version is not None, "nothing was new, so it is there"
    return Defined(version, complete.digest, complete.label, None)


async def retire(
    store: EventStore, name: str, version: int, reason: str, *, actor: str = "system"
) -> int | None:
    """The position from which on that version decides nothing; None: it was retired before.

    Raises:
        UnknownStrategy: there is no such version.
    """
    command = RetireStrategy(name=name, version=version, reason=reason)
    events = await transact(store, strategy, stream_for(name), command, actor=actor)
    return events[0].position if events else None


def from_file(path: Path, *, owner: str) -> DefineStrategy:
    """The strategy that a JSON or TOML file describes: see docs/strategies.md.

    Raises:
        BadStrategy: the file does not say what a strategy is.
        OSError: it cannot be read.
    """
    return read_definition(path, lambda content: from_content(content, owner=owner), BadStrategy)
