"""How far an export is, and the parts in which its lines go to disk."""

import asyncio
import time
from collections.abc import Collection, Iterable
from uuid import UUID

import msgspec

from alphapulse.adapters.provenance.partial import Kept, PartDone, Partial
from alphapulse.domain.provenance.lines import EventLine, Line
from alphapulse.domain.provenance.sealing import Sealed
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.audit_anchors import Anchored, Useful

MAX_EVENTS_A_PART = 10_000
MAX_BYTES_A_PART = 8_000_000
_KEEP_S = 5.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the export is of; one that goes on must want the same."""

    kind: str
    asked: Selection
    positions: tuple[int, ...] | None  # if only these
    tables: tuple[str, ...]
    since: str | None


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts hold so far. ``anchored`` are the checkpoints whose anchors say something of it."""

    leaf: int = 0  # the next that a line is wanted for
    scanned_to: int = 0
    events: int = 0
    erased: int = 0
    withheld: int = 0
    anchored: tuple[Anchored, ...] = ()


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """Lines behind the last part, of ``events`` events, and what is reached with them."""

    text: Kept
    events: int
    reached: Reached


class Standing(msgspec.Struct, kw_only=True):
    """All that is needed to go on, besides the receipts: the checkpoint is that of the beginning."""

    wanted: Wanted
    run: UUID  # of this export, however often it is gone on with
    sealed: Sealed
    reached: Reached
    parts: list[PartDone]
    rest: Rest | None = None


class Parts:
    """Takes lines; packs every 10,000 events, or 8 MB, while the next are being read.

    Now and then what is not enough for a part yet is kept, too: in a long log with little to take, the way to
    the next part is long.
    """

    def __init__(self, work: Partial, standing: Standing, useful: Useful) -> None:
        self._work, self._standing = work, standing
        self._encode = msgspec.json.Encoder().encode
        self._useful = useful
        rest = standing.rest
        self._text = bytearray() if rest is None else bytearray(work.kept(rest.text))
        self._events = 0 if rest is None else rest.events  # in the text
        self.begun = standing.reached if rest is None else rest.reached  # where reading goes on
        self._counted = _Counted(self.begun)
        self._keep_at = time.monotonic() + _KEEP_S
        self._landing: asyncio.Task[PartDone] | None = None
        self._then = standing.reached  # once it has landed

    @property
    def events(self) -> int:
        """Of the whole export so far."""
        return self._counted.events

    @property
    def packed_bytes(self) -> int:
        return sum(part.packed for part in self._standing.parts)

    async def add(self, lines: Iterable[Line], scanned_to: int) -> None:
        """``lines`` tell all up to position ``scanned_to``.

        A part ends behind an event, so parts are the same wherever reading began.
        """
        for line in lines:
            self._text += self._encode(line)
            self._text += b"\n"
            if isinstance(line, EventLine):
                self._counted.add(line, self._useful.of(line.leaf))
                self._events += 1
                if self._events >= MAX_EVENTS_A_PART or len(self._text) >= MAX_BYTES_A_PART:
                    await self._cut()
            else:
                self._counted.leaf = line.gap[1]
        self._counted.scanned_to = max(scanned_to, self._counted.scanned_to)
        if time.monotonic() >= self._keep_at:
            await self._keep()

    async def end(self) -> None:
        """All is on disk, and the standing says so."""
        if self._text:
            await self._cut()
        await self._landed()

    async def settle(self) -> None:
        """Nothing is on its way to disk any more, however it ended."""
        if self._landing is not None:
            await asyncio.gather(self._landing, return_exceptions=True)

    async def _keep(self) -> None:
        await self._landed()
        held = self._standing.rest
        name = "rest-b" if held is not None and held.text.name == "rest-a" else "rest-a"
        text = await asyncio.to_thread(self._work.keep, name, self._text)
        self._standing.rest = Rest(text=text, events=self._events, reached=self._counted.reached())
        self._work.save(self._standing)
        self._keep_at = time.monotonic() + _KEEP_S

    async def _cut(self) -> None:
        await self._landed()
        name = f"events/{len(self._standing.parts) + 1:06d}.jsonl"
        self._landing = asyncio.create_task(asyncio.to_thread(self._work.put, name, self._text))
        self._then = self._counted.reached()
        self._text, self._events = bytearray(), 0

    async def _landed(self) -> None:
        if self._landing is not None:
            landing, self._landing = self._landing, None
            self._standing.parts.append(await landing)
            self._standing.reached, self._standing.rest = self._then, None
            self._work.save(self._standing)


class _Counted:
    """``Reached`` while it grows."""

    def __init__(self, reached: Reached) -> None:
        self.leaf, self.scanned_to = reached.leaf, reached.scanned_to
        self.events, self.erased, self.withheld = reached.events, reached.erased, reached.withheld
        self._anchored = set(reached.anchored)

    def add(self, line: EventLine, anchored: Collection[Anchored]) -> None:
        self.leaf, self.scanned_to = line.leaf + 1, line.position
        self.events += 1
        self.erased += line.erased is True
        self.withheld += line.withheld is True
        self._anchored.update(anchored)

    def reached(self) -> Reached:
        return Reached(
            leaf=self.leaf,
            scanned_to=self.scanned_to,
            events=self.events,
            erased=self.erased,
            withheld=self.withheld,
            anchored=tuple(sorted(self._anchored)),
        )
