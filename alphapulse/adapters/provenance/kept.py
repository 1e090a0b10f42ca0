"""The last checkpoint, kept in a file outside the database, and the proof that the database goes on from it.

Whoever restores the database to an older point restores its checkpoints too: within it nothing is missing.
The file remembers that there was more.
"""

import fcntl
import os
from hashlib import sha256
from pathlib import Path

from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.provenance.checkpoint import Checkpoint, checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.merkle import (
    BadProof,
    consistency_ranges,
    nodes_of,
    range_root,
    verify_consistency,
)
from alphapulse.domain.provenance.notes import BadNote, NoteKey, parse_note
from alphapulse.domain.provenance.sealing import SealedLog

FOLDER = "checkpoints"  # in the data directory


class RolledBack(Exception):
    """The database holds less than was sealed, or something else: it was restored to an older point."""


class KeptCheckpoint:
    """The newest signed note of the log called ``origin``, in a file of ``folder``."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.path = folder / f"{sha256(origin.encode()).hexdigest()[:16]}.note"

    def read(self) -> str | None:
        """None where none was kept yet.

        Raises:
            OSError: it cannot be read.
            BadNote: it is no text.
        """
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise BadNote(f"{self.path}: {error}") from None

    def keep(self, note: str) -> None:
        """Put ``note`` in the place of an older one, whole and durable; a newer one stays.

        Raises:
            OSError: it cannot be written; what was kept before still is.
            RolledBack: what is kept has as many leaves and another root.
            BadNote: what is kept is no checkpoint.
        """
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a sealer that slept must not undo what another one kept
            if self._is_news(note):
                self._replace(note)
        finally:
            os.close(lock)

    def _is_news(self, note: str) -> bool:
        if (kept := self.read()) is None:
            return True
        old, new = _unsigned(kept), _unsigned(note)
        if old.size == new.size and old.root != new.root:
            raise RolledBack(
                f"rolled back: {old.size} leaves have root {old.root.hex()} in {self.path}, "
                f"and {new.root.hex()} in the database{ADVICE}"
            )
        return new.size > old.size

    def _replace(self, note: str) -> None:
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(note.encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


ADVICE = (
    ": this database was restored to an older point, or is another one. "
    "Bring back the newer database, or begin a new log under another origin (another ALPHAPULSE_SEAL_KEY)"
)


async def require_continuation(kept: KeptCheckpoint, log: SealedLog, key: NoteKey) -> None:
    """Demand that what is sealed in the database goes on from what was kept, if anything was.

    Raises:
        RolledBack: it does not.
        BadNote: the kept checkpoint, or the newest of the database, is not signed by ``key``.
        OSError: the kept checkpoint cannot be read.
        StoreUnavailable: see SealedLog.
    """
    if (note := kept.read()) is None:
        return
    old = _opened(note, key, str(kept.path))
    last = await log.sealed()
    if last is None or last.size < old.size:
        there = f"{last.size} leaves with root {last.root.hex()}" if last else "nothing sealed"
        raise RolledBack(
            f"rolled back: {kept.path} holds the checkpoint of {old.size} leaves with root {old.root.hex()}, "
            f"and the database has {there}{ADVICE}"
        )
    new = _opened(last.note, key, "the newest checkpoint of the database")
    ranges = consistency_ranges(old.size, new.size) if old.size else []
    try:
        nodes = await log.nodes(list(nodes_of(ranges)))
        proof = [range_root(lo, hi, nodes) for lo, hi in ranges]
        verify_consistency(old.size, new.size, old.root, new.root, proof)
    except (BadProof, KeyError) as error:
        raise RolledBack(
            f"rolled back: {kept.path} holds the checkpoint of {old.size} leaves with root {old.root.hex()}, "
            f"and the tree of {new.size} leaves with root {new.root.hex()} in the database does not go on "
            f"from it ({error}){ADVICE}"
        ) from None


def _opened(note: str, key: NoteKey, where: str) -> Checkpoint:
    try:
        return open_checkpoint(note, key, ed25519)
    except BadNote as error:
        raise BadNote(f"{where}: {error}") from None


def _unsigned(note: str) -> Checkpoint:
    return checkpoint_of(parse_note(note).text)
