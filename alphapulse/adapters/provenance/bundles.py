"""Bundles: one gzip stream over a tar archive, made of members that were compressed one by one.

A member is packed once, as soon as it is complete, and lies on disk until all are: deflate lets streams be
joined where one was flushed to a byte. The archive as a whole says nothing of when and where it was made, so
the same members give the same bytes. Nothing here holds more than one member or one block of a file.
"""

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from struct import pack
from typing import BinaryIO

from isal import isal_zlib

LEVEL = 4  # half of what 6 takes, for 7 % more bytes
MAX_MEMBER_BYTES = (1 << 33) - 1  # what the header of a member can say
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no name, no time, no system
_END = b"\x03\0"  # an empty last block
_RECORD = 512

Content = bytes | bytearray


class TooLarge(Exception):
    """A member is over the 8 GB that an archive can say the size of: select less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Some bytes of an archive as raw deflate, flushed; ``bytes`` and ``crc`` are of what they unpack to."""

    data: bytes
    bytes: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What the manifest says of a file."""

    name: str
    bytes: int
    sha256: str


def member(name: str, content: Content) -> Member:
    return Member(name=name, bytes=len(content), sha256=sha256(content).hexdigest())


def member_file(name: str, path: Path) -> Member:
    with path.open("rb") as file:
        return Member(name=name, bytes=path.stat().st_size, sha256=file_digest(file, "sha256").hexdigest())


def packed(name: str, content: Content) -> Packed:
    """A whole member: its header, its content, and zeros to the end of its last record."""
    return _deflated((_header(name, len(content)), content, _padding(len(content))))


def packed_file(name: str, path: Path) -> Iterator[Packed]:
    """The same for a file of any size, piece by piece."""
    size = path.stat().st_size
    yield _deflated((_header(name, size),))
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield _deflated((block,))
    yield _deflated((_padding(size),))


def content_of(piece: Packed, size: int) -> bytes:
    """The ``size`` bytes of content of a whole member."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(piece.data)[_RECORD : _RECORD + size]


class BundleFile:
    """The archive in the making: members go in one behind the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._crc, self._bytes = 0, 0
        file.write(_GZIP)

    def add(self, pieces: Iterable[Packed]) -> None:
        for piece in pieces:
            self._file.write(piece.data)
            self._crc = isal_zlib.crc32_combine(self._crc, piece.crc, piece.bytes)
            self._bytes += piece.bytes

    def end(self) -> None:
        """Two empty records end the archive, a check and a length the stream."""
        self.add([_deflated((bytes(2 * _RECORD),))])
        self._file.write(_END + pack("<II", self._crc, self._bytes & 0xFFFFFFFF))


def _header(name: str, size: int) -> bytes:
    if size > MAX_MEMBER_BYTES:
        raise TooLarge(f"{name} has {size} bytes, over {MAX_MEMBER_BYTES}: select less")
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _RECORD)


def _deflated(parts: Iterable[Content]) -> Packed:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    found, crc, size = [], 0, 0
    for part in parts:
        found.append(compressor.compress(part))
        crc, size = zlib.crc32(part, crc), size + len(part)
    found.append(compressor.flush(zlib.Z_FULL_FLUSH))
    return Packed(data=b"".join(found), bytes=size, crc=crc)
