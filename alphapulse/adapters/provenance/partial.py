"""An export in the making: a folder beside the file that it becomes, with what is done so far.

``OUT.partial/`` holds a packed file for each part of the events and ``state.json``, which is replaced as a
whole after each part. Whoever goes on after a kill trusts the state alone: a part that it does not name is
written again.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from alphapulse.adapters.files.atomic import AtomicFile
from alphapulse.adapters.provenance.bundles import Member, Packed


class PartDone(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is on disk, packed as ``packed`` bytes."""

    name: str
    bytes: int
    sha256: str
    size: int  # of the member with its header
    crc: int
    packed: int


class OtherExport(Exception):
    """The folder holds the beginning of an export of something else: remove it, or write elsewhere."""


class Partial:
    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(out.name + ".partial")

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, type_: type[Any]) -> Any:
        """The state as it was saved; None where there is none.

        Raises:
            OtherExport: the file is no state of an export of this version.
        """
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise OtherExport(f"{self.folder}/state.json cannot be read: {error}") from error

    def save(self, state: object) -> None:
        with AtomicFile(self.folder / "state.json") as file:
            file.temporary.write_bytes(msgspec.json.encode(state))
            file.commit()

    def put(self, part: Member, content: Packed) -> PartDone:
        """Write a part to disk."""
        path = self._path(part.name)
        with path.open("wb") as file:
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
        return PartDone(
            name=part.name,
            bytes=part.bytes,
            sha256=part.sha256,
            size=content.bytes,
            crc=content.crc,
            packed=len(content.data),
        )

    def get(self, part: PartDone) -> Packed:
        """Raises OtherExport: it is not there as it was written."""
        data = self._path(part.name).read_bytes()
        if len(data) != part.packed:
            raise OtherExport(f"{self._path(part.name)} has {len(data)} bytes, not {part.packed}")
        return Packed(data=data, bytes=part.size, crc=part.crc)

    def scratch(self, name: str) -> Path:
        return self.folder / name

    def finish(self, made: Path) -> None:
        """Put ``made`` in its place and forget the parts."""
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(self.out)
        shutil.rmtree(self.folder)

    def _path(self, name: str) -> Path:
        return self.folder / (name.replace("/", "-") + ".packed")
