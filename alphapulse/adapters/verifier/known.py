"""What the caller knows of a log before it looks at a bundle, and whether the bundle agrees with that."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from alphapulse.adapters.verifier.anchoring import Anchored
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.note import (
    Key,
    NoteRefused,
    SignedCheckpoint,
    check_cosigned,
    checkpoint_in,
)
from alphapulse.adapters.verifier.tables import iso_time


class Asked(NamedTuple):
    """What the caller holds: the log's key, an earlier checkpoint, keys of witnesses; or nothing.

    ``trusted``: certificates of time-stamping authorities, by SHA-256, and Bitcoin blocks, by their hash.
    """

    key: Key | None = None
    since: str | None = None  # a signed note
    witnesses: Sequence[Key] = ()
    trusted: Sequence[str] = ()


def chosen_key(asked: Asked, own: Key | None, found: Findings) -> Key | None:
    """The key that is to have signed: the caller's, or what the file says; None where nobody says."""
    if asked.key is None:
        if own is not None:
            found.say("nobody said whose key to expect: it is the file's own word, compare it")
        return own
    if own is not None and own != asked.key:
        found.fault(f"it says the key {own.text()}, expected is {asked.key.text()}", None, "key")
    return asked.key


def known_checkpoint(asked: Asked, key: Key, found: Findings) -> SignedCheckpoint | None:
    """The checkpoint that the caller holds of this log."""
    if asked.since is None:
        return None
    try:
        return checkpoint_in(asked.since, key)
    except NoteRefused as error:
        found.fault(f"the checkpoint that you hold: {error}", None, "since")
        return None


def check_since(
    since: SignedCheckpoint | None, now: SignedCheckpoint, root: bytes | None, found: Findings
) -> None:
    """``now`` continues ``since``; ``root`` is what was shown of as many leaves as that has, if anything."""
    if since is None:
        return
    if since.size > now.size:
        found.fault(f"you hold a checkpoint of {since.size} leaves, this is one of {now.size}", None, "since")
        return
    root = now.root if since.size == now.size else root
    if root is None:
        found.miss(f"a proof that this log continues the one of {since.size} leaves that you know")
    elif root != since.root:
        found.fault(
            f"the log was forked: the first {since.size} leaves have the root {root.hex()}, and the "
            f"checkpoint that you hold, signed by the same key, says {since.root.hex()}",
            None,
            "since",
        )


def check_witnesses(
    witnesses: Sequence[Key], now: SignedCheckpoint, anchored: Sequence[Anchored], found: Findings
) -> None:
    """Each of ``witnesses`` has cosigned ``now``, or an earlier checkpoint that it continues."""
    for witness in witnesses:
        times = [each.time for each in anchored if each.witness == witness and each.time is not None]
        try:
            times.append(1_000_000 * check_cosigned(now.note, witness))
        except NoteRefused as error:
            if not times:
                found.miss(f"the witness {witness.name}: {error}")
        if times:
            found.say(f"{witness.name} cosigned it, first at {iso_time(min(times))}")
