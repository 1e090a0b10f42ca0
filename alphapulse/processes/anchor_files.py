"""Receipts as files for the programs of others: ``openssl ts``, ``ots``, readers of signed notes."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from alphapulse.domain.provenance.anchors import COSIGNED, OTS, RFC3161
from alphapulse.domain.provenance.sealing import Receipt, SealedLog

_ENDINGS = {RFC3161: "tsr", OTS: "note.ots"}


async def write_receipts(log: SealedLog, receipts: Sequence[Receipt], folder: Path) -> Sequence[Path]:
    """Write each receipt, and the note that it is for, into ``folder``; what is there already stays.

    ``<size>.note`` is the signed checkpoint, ``<size>-<8 digits>`` with an ending of its kind the receipt; a
    cosignature becomes a line of a note of its own.

    Raises:
        OSError: the folder cannot be made or written.
        StoreUnavailable: see SealedLog.
    """
    files: dict[Path, bytes] = {}
    for receipt in receipts:
        sealed = await log.sealed(size=receipt.size)
        assert sealed is not None, f"a receipt for {receipt.size} leaves, which nobody sealed"
        number = sha256(receipt.anchor.encode() + receipt.data).hexdigest()[:8]
        note = sealed.note.encode()
        if receipt.kind in COSIGNED:
            files[folder / f"{receipt.size}-{number}.cosigned.note"] = note + receipt.data
        else:
            files[folder / f"{receipt.size}.note"] = note
            ending = _ENDINGS.get(receipt.kind, "receipt")
            files[folder / f"{receipt.size}-{number}.{ending}"] = receipt.data
    await asyncio.to_thread(_write, folder, files)
    return list(files)


def _write(folder: Path, files: Mapping[Path, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        if not path.exists():
            path.write_bytes(data)
