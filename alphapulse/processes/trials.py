"""Every configuration that was tried, written down once: in the log, or in a file where there is none.

``trials-{strategy}`` holds TrialRecorded, one of each id; so do the lines of trials.jsonl. Whoever tries the
same again finds it there.
"""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid5

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.backtest.trials import TrialRecorded, stream_of
from alphapulse.domain.ports import EventStore, VersionConflict
from alphapulse.projections.trial_queries import MAX_TRIALS

TRIES = 100
_IDS = UUID("3d6a1c1e-0f0b-5b0e-8f6e-51b7f6c2a9d4")  # namespace of the ids of these events, chosen once
_PAGE = 500


class TooManyTrials(Exception):
    """More than are counted were tried: the message says how many. Give the strategy another name."""


class Trials(Protocol):
    async def known(self) -> Mapping[str, TrialRecorded]:
        """By id, in the order in which they were tried."""
        ...

    async def add(self, trial: TrialRecorded) -> bool:
        """Whether it is new. At once and for ever, or not at all."""
        ...


class LogTrials:
    """Of one strategy, in its stream."""

    def __init__(self, store: EventStore, strategy: str) -> None:
        self._store, self._strategy, self._stream = store, strategy, stream_of(strategy)
        self._known: dict[str, TrialRecorded] = {}
        self._version = 0

    async def known(self) -> Mapping[str, TrialRecorded]:
        while records := await self._store.read_stream(self._stream, after=self._version, limit=_PAGE):
            for record in records:
                trial = codec.decode(record).event
                self._known.setdefault(trial.trial, trial)
            self._version = records[-1].version
            if len(self._known) > MAX_TRIALS:
                raise TooManyTrials(f"over {MAX_TRIALS:,} configurations of {self._strategy} were tried")
        return self._known

    async def add(self, trial: TrialRecorded) -> bool:
        """Raises VersionConflict: others were faster as often as is tried."""
        tries = TRIES
        while trial.trial not in await self.known():
            event_id = uuid5(_IDS, f"{self._stream}\n{trial.trial}")
            event = codec.new_event(
                self._stream, self._version + 1, trial, event_id=event_id, actor="backtest"
            )
            try:
                await self._store.append([event])
            except VersionConflict:
                tries -= 1
                if not tries:
                    raise
                continue
            return True
        return False


class FileTrials:
    """One JSON object a line; a line that was not finished was never there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def known(self) -> Mapping[str, TrialRecorded]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        found: dict[str, TrialRecorded] = {}
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            trial = msgspec.json.decode(line, type=TrialRecorded)
            found.setdefault(trial.trial, trial)
        return found

    async def add(self, trial: TrialRecorded) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if trial.trial in await self.known():
                return False
            file.truncate(self._end())
            file.write(msgspec.json.encode(trial) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return True

    def _end(self) -> int:
        """Of the last whole line."""
        return self._path.read_bytes().rfind(b"\n") + 1
