"""A witness of our own in a folder on another disk, or mounted from another machine.

It holds a key of its own, remembers what it cosigned last, and refuses a checkpoint that does not continue
it. Its time is this machine's clock: it shows what changed since, not when. It is worth as much as it is
hard for whoever writes the log to write there too.

In the folder: ``witness.key``, and one file for each log, which only grows. Its first line says whose log it
is, every further one is a cosigned checkpoint; a line is there with its newline or not at all.
"""

import asyncio
import base64
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec

from alphapulse.adapters.provenance.keys import KeySigner, ed25519, load_or_create_signer, load_signer
from alphapulse.domain.provenance.anchors import (
    FILE,
    MICROSECONDS,
    Ahead,
    AnchorFailed,
    Contradicted,
    ProofFrom,
    check_cosignature,
    cosign,
    witness_key,
)
from alphapulse.domain.provenance.checkpoint import Checkpoint, checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.merkle import BadProof, verify_consistency
from alphapulse.domain.provenance.notes import BadNote, NoteKey, parse_note, parse_signature
from alphapulse.domain.provenance.sealing import Receipt, Sealed

KEY_FILE = "witness.key"
LOCK_S = 10.0
_TAIL_BYTES = 1 << 20  # a line is shorter
_TRIES = 3
_LOCK_STEP_S = 0.05


class _Head(msgspec.Struct, frozen=True):
    """The first line."""

    log: str  # the key of the log
    witness: str


class _Line(msgspec.Struct, frozen=True):
    """What was cosigned."""

    size: int
    cosignature: str
    note: str


@dataclass(slots=True, kw_only=True)
class FileWitness:
    """Cosigns checkpoints that ``log`` signed, in ``folder``, which must be there.

    With ``key`` only as that witness: another key in the folder, or none, is an error.
    """

    name: str
    folder: Path
    log: NoteKey
    key: NoteKey | None = None
    now: Callable[[], float] = time.time  # seconds since 1970 UTC, this machine's
    lock_s: float = LOCK_S
    kind: str = FILE

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:
        try:
            checkpoint = open_checkpoint(sealed.note, self.log, ed25519)
            for _ in range(_TRIES):
                last = await asyncio.to_thread(self._last)
                if last is not None:
                    await _continued(last, checkpoint, proof_from, self.folder)
                if (line := await asyncio.to_thread(self._cosigned, sealed.note, last)) is not None:
                    return self._receipt(line, sealed)
        except (OSError, BadNote, msgspec.MsgspecError) as error:
            raise AnchorFailed(f"{self.folder}: {error}") from None
        raise AnchorFailed(f"{self.folder}: another wrote there {_TRIES} times at the same moment")

    async def settle(self, receipt: Receipt) -> Receipt | None:  # noqa: ARG002  a cosignature is settled
        return None

    def _receipt(self, line: _Line, sealed: Sealed) -> Receipt:
        signer = load_signer(self.folder / KEY_FILE)
        signature = parse_signature(line.cosignature)
        time_s = check_cosignature(parse_note(sealed.note).text, signature, witness_key(signer.key), ed25519)
        data = f"{line.cosignature}\n".encode()
        return Receipt(
            size=line.size, anchor=self.name, kind=self.kind, time=time_s * MICROSECONDS, data=data
        )

    def _last(self) -> _Line | None:
        """What was cosigned last; None at the beginning."""
        with self._opened() as (file, signer):
            return _last_line(file, signer, self.log)

    def _cosigned(self, note: str, last: _Line | None) -> _Line | None:
        """The line for ``note`` behind ``last``, which it continues; None if that is no longer the last."""
        with self._opened() as (file, signer):
            if (found := _last_line(file, signer, self.log)) != last:
                return None
            text = parse_note(note).text
            if found is not None and parse_note(found.note).text == text:
                return found
            now_s = int(self.now())
            if found is not None and now_s < (before := _time(found, signer)):
                raise AnchorFailed(f"{self.folder}: the clock says {now_s}, and the last checkpoint {before}")
            signature = str(cosign(text, signer, now_s)).removesuffix("\n")
            line = _Line(checkpoint_of(text).size, signature, note)
            _append(file, line)
            return line

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], KeySigner]]:
        """The file of this log, held for us alone, and the witness's key."""
        signer = open_witness(self.folder, self.key)
        name = sha256(self.log.name.encode()).hexdigest()[:16]
        with (self.folder / f"{name}.jsonl").open("a+b") as file:
            _lock(file, self.lock_s)
            _mend(file)
            _check_head(file, _Head(str(self.log), str(witness_key(signer.key))))
            yield file, signer


def open_witness(folder: Path, key: NoteKey | None = None) -> KeySigner:
    """The key of the witness in ``folder``, made if there is none and none is expected.

    Raises:
        AnchorFailed: the folder is not there, or holds another key than ``key``.
        OSError, BadNote: the key cannot be read or made.
    """
    if not folder.is_dir():
        raise AnchorFailed(f"{folder} is no folder: is it mounted?")
    path = folder / KEY_FILE
    if not path.exists():
        if key is not None or any(folder.glob("*.jsonl")):
            raise AnchorFailed(f"{path} is not there, and this is no new witness: is the right disk mounted?")
        with suppress(BadNote):  # two at once: one of the names stays
            load_or_create_signer(path, f"witness/{os.urandom(8).hex()}")
    signer = load_signer(path)
    if key is not None and witness_key(signer.key) != key:
        raise AnchorFailed(f"{path} is the key {witness_key(signer.key)}, not {key}")
    return signer


async def _continued(last: _Line, checkpoint: Checkpoint, proof_from: ProofFrom, folder: Path) -> None:
    """Raises Contradicted unless ``checkpoint`` continues what was cosigned last."""
    seen = checkpoint_of(parse_note(last.note).text)
    if seen.size > checkpoint.size:
        raise Ahead(str(folder), seen.size, checkpoint.size)
    try:
        proof = await proof_from(seen.size)
        verify_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, proof)
    except BadProof as error:
        raise Contradicted(
            f"{folder} has cosigned {seen.size} leaves with the root {base64.b64encode(seen.root).decode()}, "
            f"which our {checkpoint.size} do not continue: {error}"
        ) from None


def _lock(file: IO[bytes], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise AnchorFailed(f"{file.name} was held by another for {wait_s:g} s") from None
            time.sleep(_LOCK_STEP_S)


def _mend(file: IO[bytes]) -> None:
    """Take off a last line without its newline: we stopped while writing it, so nobody was given it."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)
        os.fsync(file.fileno())


def _check_head(file: IO[bytes], wanted: _Head) -> None:
    file.seek(0)
    if not (line := file.readline(_TAIL_BYTES)):
        return _append(file, wanted)
    found = msgspec.json.decode(line, type=_Head)
    if found.log != wanted.log:
        raise Contradicted(f"{file.name} is of the log {found.log}, not {wanted.log}")
    if found.witness != wanted.witness:
        raise AnchorFailed(f"{file.name} is of the witness {found.witness}, not {wanted.witness}")
    return None


def _last_line(file: IO[bytes], signer: KeySigner, log: NoteKey) -> _Line | None:
    """Raises MsgspecError or BadNote: it is damaged."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    lines = file.read().splitlines()
    if size <= _TAIL_BYTES and len(lines) < 2:
        return None
    found = msgspec.json.decode(lines[-1], type=_Line)
    open_checkpoint(found.note, log, ed25519)
    _time(found, signer)
    return found


def _time(line: _Line, signer: KeySigner) -> int:
    """When ``line`` was cosigned, in seconds, having checked that it was."""
    signature, text = parse_signature(line.cosignature), parse_note(line.note).text
    return check_cosignature(text, signature, witness_key(signer.key), ed25519)


def _append(file: IO[bytes], line: msgspec.Struct) -> None:
    file.seek(0, os.SEEK_END)
    file.write(msgspec.json.encode(line) + b"\n")
    file.flush()
    os.fsync(file.fileno())
