"""What the simulated processes do business with: orders, their confirmations, and a read model of both.

Small, but each part trips somewhere: an order of a negative amount breaks the fold, one of ``UNWRITABLE`` the
write, half-way; the importer writes orders of an older version, in whole units, which an upcaster brings to
cents. The decider takes no care of repeats: ids alone keep an order from being placed twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

import msgspec

from alphapulse.adapters.store.codec import Codec, json_form
from alphapulse.domain.decider import Decider
from alphapulse.domain.ports import NewEvent, Recorded
from alphapulse.projections.memory_reads import Apply, Rows
from alphapulse.projections.read_model import Folded

IDS = UUID("0a2d5b0e-4f0c-5f1a-8e0d-3c1b2a190807")
UNWRITABLE = 66_600  # cents
CENTS = 100


class Ordered(msgspec.Struct, frozen=True):
    number: int
    amount: int  # cents


class OrderedInUnits(msgspec.Struct, frozen=True):
    """The version before."""

    number: int
    units: int


class Confirmed(msgspec.Struct, frozen=True):
    order: str  # its event id


class Noticed(msgspec.Struct, frozen=True):
    """Nobody's business here."""

    text: str


def in_cents(raw: Any) -> Any:
    return {"number": raw["number"], "amount": raw["units"] * CENTS}


UPCASTERS = {"shop.ordered.v1": ("shop.ordered.v2", in_cents)}
codec = Codec(
    {
        "shop.ordered.v2": json_form(Ordered),
        "shop.confirmed.v1": json_form(Confirmed),
        "noise.noticed.v1": json_form(Noticed),
    },
    UPCASTERS,
)
older_codec = Codec({"shop.ordered.v1": json_form(OrderedInUnits)})


class Place(msgspec.Struct, frozen=True):
    number: int
    amount: int


def _place(command: Place, _: int) -> Sequence[Ordered]:
    return [Ordered(command.number, command.amount)]


orders: Decider[Place, int, Ordered] = Decider(0, _place, lambda state, _: state + 1)
confirmations: Decider[Confirmed, int, Confirmed] = Decider(0, lambda c, _: [c], lambda state, _: state + 1)


notices: Decider[Noticed, int, Noticed] = Decider(0, lambda n, _: [n], lambda state, _: state + 1)


def command_id(number: int) -> UUID:
    return uuid5(IDS, f"order {number}")


def confirmation_id(order: Recorded) -> UUID:
    """Of the command to confirm it: deterministic, so that doing it twice changes nothing."""
    return uuid5(IDS, f"confirm v1 {order.position}")


def imported(stream: str, version: int, number: int, units: int) -> NewEvent:
    return older_codec.new_event(stream, version, OrderedInUnits(number, units))


def alien(stream: str, version: int) -> NewEvent:
    """An event as newer code would write it."""
    like = older_codec.new_event(stream, version, OrderedInUnits(0, 0))
    return msgspec.structs.replace(like, name="shop.ordered.v9")


Changes = Mapping[str, Any]


class Book:
    """Sums a stream, confirmations an order, and a chain over all, in which any slip shows."""

    name = "book"
    code_version = 1
    names = frozenset({"shop.ordered.v2", "shop.ordered.v1", "shop.confirmed.v1"})
    tables = ()
    partitioned = False
    commutes = False

    async def load(self, db: Rows) -> str:
        return str(db.get("chain", ""))

    def fold(self, state: str, events: Sequence[Recorded]) -> Folded[str, Changes]:
        sums: dict[str, tuple[int, int]] = {}
        confirmed: dict[str, int] = {}
        for recorded in events:
            event = recorded.event
            if isinstance(event, Confirmed):
                confirmed[event.order] = confirmed.get(event.order, 0) + 1
            else:
                if event.amount < 0:
                    raise ValueError(f"amount {event.amount} < 0")
                count, total = sums.get(recorded.stream, (0, 0))
                sums[recorded.stream] = (count + 1, total + event.amount)
            state = hashlib.sha256(f"{state} {recorded.position} {event!r}".encode()).hexdigest()[:16]
        poison = any(getattr(r.event, "amount", 0) == UNWRITABLE for r in events)
        return Folded(state, {"sums": sums, "confirmed": confirmed, "chain": state, "poison": poison}, None)

    async def write(self, db: Rows, changes: Changes) -> None:
        apply(db, changes)


def apply(db: Rows, changes: Changes) -> None:
    for order, times in changes["confirmed"].items():
        db["confirmed", order] = db.get(("confirmed", order), 0) + times
    for stream, (count, total) in changes["sums"].items():
        before = db.get(("sum", stream), (0, 0))
        db["sum", stream] = (before[0] + count, before[1] + total)
    if changes["poison"]:  # now that half of it is written
        raise ValueError("no column holds this amount")
    db["chain"] = changes["chain"]


class BriefBook(Book):
    """The same, committed at once where a batch is small."""

    def parts(self, changes: Changes) -> Sequence[Apply] | None:
        return [lambda rows: apply(rows, changes)] if len(changes["sums"]) < 2 else None
