"""An export in the making: a folder beside the file that it becomes, with what is done so far.

``OUT.partial/`` holds a packed file for each part of the events and ``state.json``, which is replaced as a
whole after each part. Whoever goes on after a kill trusts the state alone: a part that it does not name is
written again.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from alphapulse.adapters.files.atomic import AtomicFile
from alphapulse.adapters.provenance.bundles import Content, Packed, content_of, member, packed

State = TypeVar("State")


class PartDone(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is on disk: a member of the bundle, packed as ``packed`` bytes."""

    name: str
    bytes: int
    sha256: str
    size: int  # of the member with its header
    crc: int
    packed: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the folder that is no part."""

    name: str
    sha256: str


class OtherExport(Exception):
    """The folder holds something else than the beginning of this export: remove it, or write elsewhere."""


class Partial:
    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(out.name + ".partial")

    def load(self, type_: type[State], name: str = "state.json") -> State | None:
        """The state as it was saved; None where there is none.

        Raises:
            OtherExport: it is no state of an export of this version.
        """
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise OtherExport(f"{self.folder / name} cannot be read: {error}: remove the folder") from None

    def save(self, state: object, name: str = "state.json") -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with AtomicFile(self.folder / name) as file:
            file.temporary.write_bytes(msgspec.json.encode(state))
            file.commit()

    def put(self, name: str, content: Content) -> PartDone:
        """Pack a part to disk."""
        said, piece = member(name, content), packed(name, content)
        _write(self._path(name), piece.data)
        return PartDone(
            name=name,
            bytes=said.bytes,
            sha256=said.sha256,
            size=piece.bytes,
            crc=piece.crc,
            packed=len(piece.data),
        )

    def get(self, part: PartDone) -> Packed:
        """Raises OtherExport: it is not there as it was written."""
        path = self._path(part.name)
        data = path.read_bytes() if path.exists() else b""
        if len(data) != part.packed:
            raise OtherExport(f"{path} has {len(data)} bytes, not {part.packed}: remove {self.folder}")
        return Packed(data=data, bytes=part.size, crc=part.crc)

    def content(self, part: PartDone) -> bytes:
        """What the part holds, unpacked. Raises OtherExport."""
        return content_of(self.get(part), part.bytes)

    def keep(self, name: str, content: Content) -> Kept:
        """Write something that no part holds yet. Under the name of what is still kept it is not safe."""
        _write(self.folder / name, content)
        return Kept(name=name, sha256=sha256(content).hexdigest())

    def kept(self, what: Kept) -> bytes:
        """Raises OtherExport: it is not there as it was written."""
        path = self.folder / what.name
        content = path.read_bytes() if path.exists() else b""
        if sha256(content).hexdigest() != what.sha256:
            raise OtherExport(f"{path} is not as it was written: remove {self.folder}")
        return content

    def scratch(self, name: str) -> Path:
        """A file that need not outlive a kill."""
        return self.folder / name

    def finish(self, made: Path) -> None:
        """Put ``made`` in its place, and forget the parts."""
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(self.out)
        self.drop()

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / (name.replace("/", "-") + ".packed")


def _write(path: Path, content: Content) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
