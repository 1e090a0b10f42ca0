"""Bytes of a file: what it is packed in, its hash, and a stream of whole lines.

gzip and zstd are recognised by their first bytes, not by the name.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import zstandard
from isal import igzip, isal_zlib

from alphapulse.adapters.files.reader import CHUNK_BYTES, MAX_LINE_BYTES, UnreadableFile

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PARQUET, _FEATHER = b"PAR1", b"ARROW1"
# isal_zlib.error is what its C module raises; its type stub calls it an instance.
_BROKEN = (EOFError, OSError, zlib.error, cast("type[Exception]", isal_zlib.error), zstandard.ZstdError)


def file_sha256(path: Path) -> str:
    """The hash of the file's bytes as stored, which names it in the log.

    Raises:
        UnreadableFile: it is no file, is empty, or cannot be opened.
    """
    if path.is_dir():
        raise UnreadableFile(f"{path} is a directory, not a file")
    try:
        if path.stat().st_size == 0:
            raise UnreadableFile(f"{path} is empty (0 bytes)")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be opened: {error.strerror}") from None


def container(path: Path) -> str:
    """parquet, feather or text, by the first bytes."""
    with path.open("rb") as file:
        head = file.read(6)
    if head[:4] == _PARQUET:
        return "parquet"
    return "feather" if head == _FEATHER else "text"


def is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] == _GZIP or head == _ZSTD


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], float]]]:
    """The unpacked bytes of ``path``, and a function that says which part of the file has been read."""
    size = path.stat().st_size or 1
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)

        def done_ratio() -> float:
            return file.tell() / size

        if head[:2] == _GZIP:
            with igzip.IGzipFile(fileobj=file, mode="rb") as gzip:  # type: ignore[no-untyped-call]
                yield cast("BinaryIO", gzip), done_ratio
        elif head == _ZSTD:
            with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as zstd:
                yield zstd, done_ratio
        else:
            yield file, done_ratio


def read_block(source: BinaryIO, path: Path, size: int = CHUNK_BYTES) -> bytes:
    """The next ``size`` bytes, fewer only at the end.

    Raises:
        UnreadableFile: the packing is damaged or ends too early; nothing of this block is used.
    """
    parts: list[bytes] = []
    left = size
    try:
        while left and (part := source.read(left)):
            parts.append(part)
            left -= len(part)
    except _BROKEN as error:
        line, problem = _whole_lines(path), str(error) or type(error).__name__
        raise UnreadableFile(
            f"{path}: broken or cut off after line {line}, or soon after: {problem}"
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _whole_lines(path: Path) -> int:
    """How many lines can be read before the packing breaks, less those in the last 8 kB."""
    lines = 0
    with suppress(*_BROKEN), open_bytes(path) as (source, _):
        while part := source.read(1 << 13):
            lines += part.count(b"\n")
    return lines


def verify_packing(path: Path) -> None:
    """Unpack the whole file once, to know that it is complete, before anything of it is stored.

    Raises:
        UnreadableFile: it is damaged or cut off.
    """
    if is_packed(path):
        with open_bytes(path) as (source, _):
            while read_block(source, path):
                pass


def line_blocks(source: BinaryIO, path: Path, lines: Callable[[], int]) -> Iterator[bytes]:
    """Blocks of whole lines, each ending in a line feed (added at the end of the file if missing).

    ``lines()`` says how many lines the caller has taken so far, for messages.

    Raises:
        UnreadableFile: as read_block; or a line is over MAX_LINE_BYTES.
    """
    carry = b""
    while block := read_block(source, path):
        cut = block.rfind(b"\n") + 1
        if cut == 0:
            carry += block
        else:
            yield b"".join((carry, memoryview(block)[:cut]))
            carry = block[cut:]
        if len(carry) > MAX_LINE_BYTES:
            raise UnreadableFile(
                f"{path}: line {lines() + 1} is over {MAX_LINE_BYTES:,} bytes long, it begins {carry[:60]!r}"
            )
    if carry:
        yield carry + b"\n"
