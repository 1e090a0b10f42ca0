"""A sealer at work, and what the tree has to look like then: verified by a loop of its own."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from alphapulse.adapters.provenance.kept import KeptCheckpoint
from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.domain.ports import EventStore, Leases
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.processes.seal import Sealer, SealLimits, SealReport, Seals

QUICK = SealLimits(interval_s=0.05, poll_s=0.05, lease_s=1.0, backoff_s=(0.01, 0.1))
ORIGIN = "example.org/log"
SIGNER = KeySigner(ORIGIN, bytes(range(32)))


@dataclass
class Running:
    sealer: Sealer
    reports: list[SealReport]
    reported: asyncio.Event
    task: "asyncio.Task[None]"

    async def until(self, wanted: Callable[[SealReport], bool]) -> None:
        """Return once the sealer reports what is ``wanted``; raise what it fails with."""
        async with asyncio.timeout(30):
            while not self.reports or not wanted(self.reports[-1]):
                self.reported.clear()
                waiting = asyncio.create_task(self.reported.wait())
                await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the sealer ended")

    async def sealed(self, size: int) -> None:
        await self.until(lambda report: report.size >= size and not report.problem)

    async def problem(self, text: str) -> None:
        await self.until(lambda report: bool(report.problem and text in report.problem))


@asynccontextmanager
async def sealing(
    store: EventStore,
    seals: Seals,
    leases: Leases,
    folder: Path,
    limits: SealLimits = QUICK,
    holder: str = "test",
    signer: KeySigner = SIGNER,
) -> AsyncIterator[Running]:
    """A sealer that runs while the context is open, then stops by itself."""
    reports: list[SealReport] = []
    reported = asyncio.Event()

    def report(state: SealReport) -> None:
        reports.append(state)
        reported.set()

    sealer = Sealer(
        store=store,
        seals=seals,
        leases=leases,
        signer=signer,
        kept=KeptCheckpoint(folder, signer.key.name),
        holder=holder,
        report=report,
        limits=limits,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(sealer.run(stop))
    try:
        yield Running(sealer, reports, reported, task)
        stop.set()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


# -- an independent look ------------------------------------------------------------------------

_ROWS = """
SELECT notification_id, event_id, originator_version, recorded_at, event_time, cause_id, correlation_id,
    id_lo, id_hi, originator_id, topic, actor, trace, state
FROM stored_events WHERE notification_id > %s ORDER BY notification_id LIMIT %s"""


def assert_whole_tree(database_url: str, key: NoteKey = SIGNER.key) -> int:
    """Every seal, leaf and node in the database is right, from the rows of the log up; how many leaves.

    Shares no code with what seals: bytes are put together by struct, roots by the words of RFC 6962.
    """
    stack: list[tuple[int, bytes]] = []  # (leaves, root), left to right
    nodes: dict[tuple[int, int], bytes] = {}
    signals: dict[str, int] = {}
    size = position = 0
    with psycopg.connect(database_url) as db:
        seals = db.execute("SELECT * FROM log_seals ORDER BY size").fetchall()
        for new_size, first, last, positions, salts, commitments, hashes, root, note, _ in seals:
            assert first == size
            rows = db.execute(_ROWS, (position, new_size - first)).fetchall()
            assert [row[0] for row in rows] == positions, f"the seal of {new_size} leaves out events"
            for at, row in enumerate(rows):
                commitment = sha256(salts[16 * at : 16 * at + 16] + row[13]).digest()
                leaf = sha256(b"\0" + _leaf(row, commitment)).digest()
                assert commitments[32 * at : 32 * at + 32] == commitment
                assert hashes[32 * at : 32 * at + 32] == leaf
                _push(stack, nodes, size, leaf)
                size += 1
                if row[10].startswith("signal.issued.") and row[9].startswith("signals-"):
                    signals[row[9][8:]] = signals.get(row[9][8:], 0) + 1
            assert (size, positions[-1]) == (new_size, last)
            assert root == _root(stack)
            _assert_note(note, key, size, root, signals)
            position = last
        stored = db.execute("SELECT level, number, hash FROM log_nodes").fetchall()
        assert {(level, number): value for level, number, value in stored} == nodes
        counted = db.execute(
            "SELECT DISTINCT ON (strategy) strategy, count FROM log_signal_counts"
            " ORDER BY strategy, size DESC"
        ).fetchall()
        assert dict(counted) == signals
    return size


def _leaf(row: Sequence[Any], commitment: bytes) -> bytes:
    at, event, version, recorded, time, cause, correlation, lo, hi, stream, name, actor, trace, _ = row
    texts = [str(text or "").encode() for text in (stream, name, actor, trace)]
    there = [time is not None, cause is not None, correlation is not None, lo is not None, trace is not None]
    since = recorded - datetime(1970, 1, 1, tzinfo=UTC)
    stamp = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return b"".join(
        (
            b"APL1",
            struct.pack(">q", at),
            event.bytes,
            struct.pack(">qqB", version, stamp, sum(bit << n for n, bit in enumerate(there))),
            struct.pack(">q", time or 0),
            cause.bytes if cause else bytes(16),
            correlation.bytes if correlation else bytes(16),
            struct.pack(">qq", lo or 0, hi or 0),
            commitment,
            struct.pack(">IIII", *map(len, texts)),
            *texts,
        )
    )


def _push(
    stack: list[tuple[int, bytes]], nodes: dict[tuple[int, int], bytes], size: int, leaf: bytes
) -> None:
    stack.append((1, leaf))
    while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
        (count, right), (_, left) = stack.pop(), stack.pop()
        stack.append((2 * count, sha256(b"\x01" + left + right).digest()))
        level = (2 * count).bit_length() - 1
        if level % 8 == 0:
            nodes[level, size >> level] = stack[-1][1]


def _root(stack: Sequence[tuple[int, bytes]]) -> bytes:
    root = stack[-1][1]
    for _, left in reversed(stack[:-1]):
        root = sha256(b"\x01" + left + root).digest()
    return root


def _assert_note(note: str, key: NoteKey, size: int, root: bytes, signals: dict[str, int]) -> None:
    text, _, signature = note.rpartition("\n\n")
    name, encoded = signature.removeprefix("— ").split()
    assert name == key.name
    value = base64.b64decode(encoded)
    Ed25519PublicKey.from_public_bytes(key.public).verify(value[4:], (text + "\n").encode())
    listed = "".join(f"{signals[name]} {name}\n" for name in sorted(signals, key=str.encode))
    digest = base64.b64encode(sha256(listed.encode()).digest()).decode()
    assert text.split("\n") == [
        key.name,
        str(size),
        base64.b64encode(root).decode(),
        f"signals {len(signals)} {sum(signals.values())} {digest}",
    ]
