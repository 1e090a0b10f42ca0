"""Strategies into the log: define, retire, the default one, and strategies in files."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from alphapulse.domain.decision.strategy_decider import (
    DefineStrategy,
    RetireStrategy,
    State,
    in_use,
    strategy,
    stream_for,
)
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.decision.strategy_text import from_content
from alphapulse.domain.ports import EventStore
from alphapulse.processes.transact import load, transact

MAX_FILE_BYTES = 1_000_000


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
    (complete,) = strategy.decide(command, State())
    assert not isinstance(complete, RetireStrategy)
    state, _ = await load(store, strategy, stream)
    version = in_use(state, complete.digest)  # type: ignore[union-attr]
    assert version is not None, "nothing was new, so it is there"
    return Defined(version, complete.digest, complete.label, None)  # type: ignore[union-attr]


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
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise BadStrategy(f"{path} has {len(data):,} bytes, a strategy takes at most {MAX_FILE_BYTES:,}")
    try:
        content = tomllib.loads(data.decode()) if path.suffix == ".toml" else json.loads(data)
        return from_content(content, owner=owner)
    except ValueError as error:  # BadStrategy is one
        raise BadStrategy(f"{path}: {error}") from None
    except RecursionError:
        raise BadStrategy(f"{path}: its lists or tables stand too deep in each other") from None
