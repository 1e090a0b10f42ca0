"""What must hold after every schedule; the oracle is what clients sent, not what our code says of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from alphapulse.adapters.bus.envelope import from_message, place_of
from alphapulse.domain.ports import StoredRecord
from tests.simulation import shop
from tests.simulation.actors import IMPORT_STREAM, Business
from tests.simulation.world import World

Commands = Sequence[tuple[float, shop.Place]]


async def lag(world: World, business: Business) -> list[str]:
    """Who is behind the log's end."""
    head = len(world.store._log)
    end = await world.bus.end()
    left = []
    if head and (end.message is None or place_of(end.message)[0] != head):
        left.append(f"the stream ends before {head}")
    if head and business.confirmed != head:
        left.append(f"the policy is at {business.confirmed} of {head}")
    book = world.reads.contents.get("book")
    if book is None or book.position != head:
        left.append(f"the read model is at {book.position if book else None} of {head}")
    return left


async def check(
    world: World, business: Business, commands: Commands, acknowledged: Mapping[int, Sequence[int]]
) -> None:
    log = world.store._log
    check_streams(world, log)
    check_orders(world, log, commands, acknowledged)
    check_import(world, log, business)
    check_confirmations(world, log)
    check_epochs(world, log)
    await check_stream_of_bus(world, log)
    check_read_model(world, log)


def check_streams(world: World, log: Sequence[StoredRecord]) -> None:
    versions: Counter[str] = Counter()
    for before, record in zip([None, *log], log, strict=False):
        versions[record.stream] += 1
        if record.version != versions[record.stream]:
            world.violate(f"position {record.position}: {record.stream} has version {record.version} next")
        if before and (before.position >= record.position or before.recorded_at > record.recorded_at):
            world.violate(f"position {record.position} is not behind {before.position}")
    ids = Counter(record.envelope.event_id for record in log)
    for twice in [i for i, times in ids.items() if times > 1]:
        world.violate(f"event id {twice} is there {ids[twice]} times")


def check_orders(
    world: World,
    log: Sequence[StoredRecord],
    commands: Commands,
    acknowledged: Mapping[int, Sequence[int]],
) -> None:
    """Each order is there once, as it was placed, and where the client was told."""
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for record in log:
        if record.stream.startswith("orders-"):
            event = shop.codec.read(record.name, record.state)
            found[event.number].append((record.position, event.amount))
    for _, command in commands:
        held = found.pop(command.number, [])
        told = acknowledged.get(command.number)
        if told is not None and [position for position, _ in held] != list(told):
            world.violate(f"order {command.number} was acknowledged at {told}, the log has it at {held}")
        elif len(held) > 1 or any(amount != command.amount for _, amount in held):
            world.violate(f"order {command.number} of {command.amount} is in the log as {held}")
    if found:
        world.violate(f"orders that nobody placed: {dict(found)}")


def check_import(world: World, log: Sequence[StoredRecord], business: Business) -> None:
    rows = [r.state for r in log if r.stream == IMPORT_STREAM]
    wanted = [
        shop.imported(IMPORT_STREAM, 1, number, units).state if number else shop.alien(IMPORT_STREAM, 1).state
        for number, units in business.rows
    ]
    if rows != wanted[: len(rows)] or len(rows) < business.acknowledged_rows:
        world.violate(
            f"{business.acknowledged_rows} rows acknowledged of {len(wanted)}, the log has {len(rows)}, "
            f"as they were: {rows == wanted[: len(rows)]}"
        )


def check_confirmations(world: World, log: Sequence[StoredRecord]) -> None:
    """Each order has one confirmation, which names it as its cause."""
    orders = {str(r.envelope.event_id) for r in log if r.name in ("shop.ordered.v1", "shop.ordered.v2")}
    confirmed: Counter[str] = Counter()
    for record in log:
        if record.name == "shop.confirmed.v1":
            order = shop.codec.read(record.name, record.state).order
            confirmed[order] += 1
            if str(record.envelope.cause_id) != order:
                world.violate(
                    f"position {record.position} confirms {order}, caused by {record.envelope.cause_id}"
                )
    twice = {order: times for order, times in confirmed.items() if times > 1}
    if twice or set(confirmed) - orders:
        world.violate(f"confirmed more than once: {twice}; never placed: {sorted(set(confirmed) - orders)}")
    if world.violations or set(confirmed) == orders:
        return
    world.violate(f"never confirmed: {sorted(orders - set(confirmed))}")


def check_epochs(world: World, log: Sequence[StoredRecord]) -> None:
    """Whoever lost the lease wrote nothing after the next holder did."""
    last = 0
    for record in log:
        who, _, epoch = record.envelope.actor.partition(" ")
        if who == "policy":
            if int(epoch) < last:
                world.violate(f"position {record.position} is of epoch {epoch}, after one of epoch {last}")
            last = int(epoch)


async def check_stream_of_bus(world: World, log: Sequence[StoredRecord]) -> None:
    """Within its epochs the stream holds the log without a gap, unchanged, up to the end."""
    messages = await world.look_at_stream()
    records = {record.position: record for record in log}
    before = None
    for message in messages:
        delivery = from_message(message)
        if delivery.record != records.get(delivery.position):
            world.violate(f"message {message.sequence} is not position {delivery.position} of the log")
        if before is not None:
            last, at = before
            if message.sequence != at.sequence + 1 and last.epoch == delivery.epoch:
                world.violate(f"message {message.sequence} follows {at.sequence}")
            if last.epoch == delivery.epoch and delivery.previous != last.position:
                world.violate(
                    f"message {message.sequence} chains to {delivery.previous}, not {last.position}"
                )
            if delivery.epoch < last.epoch:
                world.violate(f"epoch {delivery.epoch} follows {last.epoch}")
        before = (delivery, message)


def check_read_model(world: World, log: Sequence[StoredRecord]) -> None:
    """What a person with paper would have written down, and what a fresh fold gives."""
    book = world.reads.contents.get("book")
    if book is None:
        return
    done = [record for record in log if record.position <= book.position]
    parked = {r.position for r in done if is_poison(r)}
    if set(book.parked) != parked:
        world.violate(f"parked are {sorted(book.parked)}, unfoldable are {sorted(parked)}")
    sums, confirmed = on_paper(world, [r for r in done if r.position not in parked])
    rows = {key: value for key, value in book.rows.items() if key != "chain"}
    wanted = {("sum", s): v for s, v in sums.items()} | {("confirmed", o): n for o, n in confirmed.items()}
    if rows != wanted:
        differs = {k: (rows.get(k), wanted.get(k)) for k in {*rows, *wanted} if rows.get(k) != wanted.get(k)}
        world.violate(f"the read model differs, (is, should be): {sorted(differs.items(), key=str)}")
    ours = [r for r in done if r.name in shop.Book.names and r.position not in parked]
    fresh = shop.Book().fold("", [shop.codec.decode(r) for r in ours])
    if not sums and not confirmed:
        return
    if book.rows.get("chain") != fresh.state:
        world.violate(f"the read model's chain is {book.rows.get('chain')}, a fresh fold gives {fresh.state}")


def on_paper(
    world: World, records: Sequence[StoredRecord]
) -> tuple[dict[str, tuple[int, int]], Counter[str]]:
    """Counts and sums a stream in cents, and confirmations an order, read without our codec."""
    sums: dict[str, tuple[int, int]] = {}
    confirmed: Counter[str] = Counter()
    for record in records:
        raw = json.loads(record.state)
        if record.name == "shop.confirmed.v1":
            confirmed[raw["order"]] += 1
        elif record.name.startswith("shop.ordered"):
            cents = raw["units"] * shop.CENTS if "units" in raw else raw["amount"]
            count, total = sums.get(record.stream, (0, 0))
            sums[record.stream] = (count + 1, total + cents)
    return sums, confirmed


def is_poison(record: StoredRecord) -> bool:
    if record.name == "shop.ordered.v9":
        return True
    raw = json.loads(record.state)
    return "amount" in raw and (raw["amount"] < 0 or raw["amount"] == shop.UNWRITABLE)
