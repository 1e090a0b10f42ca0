"""What anchors gave, by kind: whether it is over this note, when, and what is left to the reader.

``checked`` is what rests on a key, a certificate or a block that the reader named; the rest fits together,
and says itself who it is from. No anchor of a wrong note or signature passes.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Sequence

from alphapulse.adapters.verifier.anchoring import (
    CHECKED,
    NOT_CHECKED,
    PENDING,
    Anchor,
    Anchored,
    AnchorRefused,
)
from alphapulse.adapters.verifier.note import Key, NoteRefused, check_cosigned, note_of
from alphapulse.adapters.verifier.promises import PromiseRefused, block_hash, block_time, promises_of
from alphapulse.adapters.verifier.timestamps import StampRefused, stamp_of

_MICROSECONDS = 1_000_000
_LAST_SECOND = 253_402_300_799  # of the year 9999


def check_anchor(anchor: Anchor, witnesses: Sequence[Key], trusted: Sequence[str] = ()) -> Anchored:
    """What ``anchor`` says of its note.

    ``witnesses`` are keys that the caller trusts. ``trusted`` are SHA-256 digests in hexadecimal of
    certificates of time-stamping authorities, and hashes of Bitcoin blocks.

    Raises:
        AnchorRefused: it is not over this note, or says another time than the bundle does of it.
    """
    try:
        if anchor.kind in ("witness", "file"):
            found = _cosigned(anchor, witnesses)
        elif anchor.kind == "rfc3161":
            found = _stamped(anchor, trusted)
        elif anchor.kind == "ots":
            found = _promised(anchor, trusted)
        else:
            return Anchored(anchor, NOT_CHECKED, None, f"anchors of kind {anchor.kind!r} are not known here")
    except (NoteRefused, StampRefused, PromiseRefused) as error:
        raise AnchorRefused(str(error)) from None
    if anchor.time is not None and anchor.time != found.time:
        raise AnchorRefused(f"the bundle says {_moment(anchor.time)}, and the anchor {_moment(found.time)}")
    if found.time is None:
        return found
    return found._replace(text=f"{_moment(found.time)}, {found.text}")


def _cosigned(anchor: Anchor, witnesses: Sequence[Key]) -> Anchored:
    try:
        lines = anchor.data.decode()
        note = note_of(note_of(anchor.note).text + "\n" + lines)
    except UnicodeDecodeError:
        raise AnchorRefused("the cosignature is no text") from None
    named = {(name, key_id) for name, key_id, _ in note.signatures}
    whose = "by its own clock"
    if anchor.kind == "file":
        whose = "by the clock of the machine that the log is on"
    for witness in witnesses:
        if (witness.name, witness.id) in named:
            time = _in_range(check_cosigned(note, witness)) * _MICROSECONDS
            return Anchored(anchor, CHECKED, time, f"cosigned by {witness.name}, {whose}", witness)
    times = [int.from_bytes(value[:8], "big") for _, _, value in note.signatures if len(value) == 72]
    if not times:
        raise AnchorRefused("no cosignature, but another signature")
    names = ", ".join(f"{name} ({key_id.hex()})" for name, key_id in sorted(named))
    text = f"says to be cosigned by {names}, {whose}: not checked, as its key was not given with --witness"
    return Anchored(anchor, NOT_CHECKED, _in_range(max(times)) * _MICROSECONDS, text)


def _in_range(seconds: int) -> int:
    if not 0 < seconds <= _LAST_SECOND:
        raise AnchorRefused(f"cosigned {seconds} seconds after 1970, which is no date")
    return seconds


def _stamped(anchor: Anchor, trusted: Sequence[str]) -> Anchored:
    stamp = stamp_of(anchor.data, anchor.note.encode())
    command = "openssl ts -verify -in RESPONSE -data NOTE -CAfile ROOTS"
    if stamp.certificate is None:
        text = f"says an authority; its signature is not checked here, {stamp.unchecked}: {command}"
        return Anchored(anchor, NOT_CHECKED, stamp.time, text)
    digest = sha256(stamp.certificate).hexdigest()
    if digest in trusted:
        return Anchored(anchor, CHECKED, stamp.time, f"signed by the authority with certificate {digest}")
    text = f"signed by certificate {digest}; whose that is, is not checked here: {command}"
    return Anchored(anchor, NOT_CHECKED, stamp.time, text)


def _promised(anchor: Anchor, trusted: Sequence[str]) -> Anchored:
    promises = promises_of(anchor.data, anchor.note.encode())
    if not promises.blocks:
        calendars = ", ".join(promises.calendars) or "nobody"
        return Anchored(anchor, PENDING, None, f"promised by {calendars}: ots upgrade asks for the rest")
    with_header = [(block, block.header) for block in promises.blocks if block.header is not None]
    if not with_header:
        block = promises.blocks[0]
        text = f"in Bitcoin block {block.height}, if its Merkle root is {block.root[::-1].hex()}: ots verify"
        return Anchored(anchor, NOT_CHECKED, None, text)
    block, header = min(with_header, key=lambda found: block_time(found[1]))
    time, name = block_time(header) * _MICROSECONDS, block_hash(header)
    if name in trusted:
        return Anchored(anchor, CHECKED, time, f"in Bitcoin block {block.height}, by its miner's clock")
    text = f"in Bitcoin block {block.height}, if that is {name}: bitcoin-cli getblockhash {block.height}"
    return Anchored(anchor, NOT_CHECKED, time, text)


def _moment(time: int | None) -> str:
    """A time in µs for people."""
    if time is None:
        return "no time"
    if not 0 <= time <= _LAST_SECOND * _MICROSECONDS:
        return f"{time} µs after 1970"
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=time)
    return moment.isoformat().replace("+00:00", "Z")
