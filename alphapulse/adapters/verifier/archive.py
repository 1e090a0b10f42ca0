"""Bundles: plain files one behind the other in a tar archive, in gzip; read once, front to back.

Anything else that an archive may hold (links, folders, other names, times, owners) is refused, as are names
twice, and whatever is larger than an export gets.
"""

from __future__ import annotations

import re
import zlib
from hashlib import sha256
from typing import BinaryIO, Iterator

from alphapulse.adapters.verifier.findings import Broken

MAX_LINE_BYTES = 64 << 20
MAX_MEMBER_BYTES = 8 << 30
MAX_MEMBERS = 200_000
MAX_WHOLE_BYTES = 16 << 20  # of a member that is read as a whole, where nothing else is said
_BLOCK_BYTES = 1 << 18
_RECORD_BYTES = 512
_MEMBER_NAME = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+)?(?:\.[a-z0-9]+)?|README\.txt")


class Archive:
    """The members of a bundle, in order; ``member`` moves on to the next one."""

    def __init__(self, file: BinaryIO) -> None:
        self._stream = _Unpacked(file)
        self._names: set[str] = set()
        self._member: Member | None = None

    @property
    def bytes_read(self) -> int:
        """Of the file, so far."""
        return self._stream.bytes_read

    def member(self) -> Member | None:
        """The next member; None at the end. What is left of the one before is read and hashed.

        Raises:
            Broken: this is no archive as an export writes it.
        """
        self._finish()
        header = self._stream.take(_RECORD_BYTES)
        if header == bytes(_RECORD_BYTES):
            self._expect_end()
            return None
        name, size = _name_and_size(header)
        if name in self._names:
            raise Broken(f"two members have the name {name}")
        if len(self._names) >= MAX_MEMBERS:
            raise Broken(f"over {MAX_MEMBERS} members")
        self._names.add(name)
        self._member = Member(name, size, self._stream)
        return self._member

    def _finish(self) -> None:
        if self._member is None:
            return
        self._member.skip()
        if self._stream.take(-self._member.size % _RECORD_BYTES).strip(b"\0"):
            raise Broken(f"something stands between {self._member.name} and the next member")
        self._member = None

    def _expect_end(self) -> None:
        blocks = 1
        while True:
            block = self._stream.take_up_to(_RECORD_BYTES)
            if not block:
                break
            blocks += 1
            if block.strip(b"\0") or blocks > 64:
                raise Broken("something stands behind the end of the archive")
        if blocks < 2:
            raise Broken("the archive breaks off")


class Member:
    """A file in the archive; ``digest`` holds once all of it was read."""

    def __init__(self, name: str, size: int, stream: _Unpacked) -> None:
        self.name, self.size = name, size
        self._stream, self._left, self._hash = stream, size, sha256()

    def digest(self) -> str:
        """SHA-256 of its bytes, in hexadecimal."""
        self.skip()
        return self._hash.hexdigest()

    def read(self, most: int = _BLOCK_BYTES) -> bytes:
        """The next bytes; nothing at the end."""
        block = self._stream.take(min(most, self._left, _BLOCK_BYTES))
        self._left -= len(block)
        self._hash.update(block)
        return block

    def skip(self) -> None:
        while self._left:
            self.read()

    def whole(self, most: int = MAX_WHOLE_BYTES) -> bytes:
        """All of it.

        Raises:
            Broken: it is larger than ``most``.
        """
        if self.size > most:
            raise Broken(f"{self.name} has {self.size} bytes, where {most} are the most", self.name)
        parts = []
        while self._left:
            parts.append(self.read())
        return b"".join(parts)

    def text(self, most: int = MAX_WHOLE_BYTES) -> str:
        """All of it, as text.

        Raises:
            Broken: it is too large, or no UTF-8.
        """
        try:
            return self.whole(most).decode()
        except UnicodeDecodeError as error:
            raise Broken(f"{self.name} is no UTF-8: {error}", self.name) from None

    def lines(self) -> Iterator[bytes]:
        """Its lines, without their newlines.

        Raises:
            Broken: a line is too long, or the last one does not end.
        """
        parts: list[bytes] = []
        held = 0
        while self._left:
            first, *others = self.read().split(b"\n")
            parts.append(first)
            held += len(first)
            if held > MAX_LINE_BYTES:
                raise Broken(f"{self.name} has a line of over {MAX_LINE_BYTES} bytes", self.name)
            if others:
                yield b"".join(parts)
                yield from others[:-1]
                parts, held = [others[-1]], len(others[-1])
        if held:
            raise Broken(f"{self.name} breaks off inside a line", self.name)


class _Unpacked:
    """What a gzip file holds, a few hundred kilobytes at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.bytes_read = file, 0
        self._inflate = zlib.decompressobj(31)
        self._ready = b""
        self._packed = b""

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises:
            Broken: there are not as many.
        """
        found = self.take_up_to(size)
        if len(found) != size:
            raise Broken("the file breaks off")
        return found

    def take_up_to(self, size: int) -> bytes:
        """The next ``size`` bytes, or what there is."""
        while len(self._ready) < size:
            block = self._next()
            if not block:
                break
            self._ready += block
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def _next(self) -> bytes:
        """Some more; nothing at the end."""
        while True:
            if not self._packed:
                self._packed = self._file.read(_BLOCK_BYTES)
                self.bytes_read += len(self._packed)
                if not self._packed:
                    if not self._inflate.eof:
                        raise Broken("the file breaks off")
                    return b""
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(31)
            try:
                block = self._inflate.decompress(self._packed, _BLOCK_BYTES)
            except zlib.error as error:
                raise Broken(f"no gzip file: {error}") from None
            self._packed = self._inflate.unconsumed_tail or self._inflate.unused_data
            if block:
                return block


def _name_and_size(header: bytes) -> tuple[str, int]:
    """What the 512 bytes before a member say.

    Raises:
        Broken: it is no plain file without owner and time, or has a name that no export gives.
    """
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    if not _MEMBER_NAME.fullmatch(name):
        raise Broken(f"a member has the name {name!r}")
    digits = header[124:136].rstrip(b"\0 ")
    if not re.fullmatch(rb"[0-7]{11}", digits):
        raise Broken(f"{name} has a size of {digits!r}")
    size = int(digits, 8)
    if size > MAX_MEMBER_BYTES:
        raise Broken(f"{name} has {size} bytes, where {MAX_MEMBER_BYTES} are the most")
    if header != _plain_header(name, size):
        raise Broken(f"{name} is no plain file, or the header before it is damaged")
    return name, size


def _plain_header(name: str, size: int) -> bytes:
    """As POSIX says, of a file that everybody may read, of nobody, from 1970."""
    before = (
        name.encode().ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"%011o\0" % size
        + b"0" * 11
        + b"\0"
    )
    after = (b"0".ljust(101, b"\0") + b"ustar\x0000").ljust(_RECORD_BYTES - 156, b"\0")
    check = sum(before) + sum(after) + 8 * 32
    return before + b"%06o\0 " % check + after
