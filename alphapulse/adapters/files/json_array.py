"""A JSON array of flat objects (ccxt trades) or one object a line, read without loading it whole.

Numbers keep their text: 0.00141342 in the file is that decimal, whatever a float would make of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numba import njit

from alphapulse.adapters.files.reader import (
    MAX_LINE_BYTES,
    TextChunk,
    TextColumn,
    UnreadableFile,
)
from alphapulse.adapters.files.source import open_bytes, read_block

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NO_OBJECT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what it raises of other text


@njit(cache=True, nogil=True)
def find_objects(data, starts, ends):  # type: ignore[no-untyped-def]
    """Bounds of the whole top-level objects in ``data``; return (how many, where the rest begins)."""
    n, depth, rest = 0, 0, len(data)
    text, escaped = False, False
    for i in range(len(data)):
        c = data[i]
        if text:
            if escaped:
                escaped = False
            elif c == 92:
                escaped = True
            elif c == 34:
                text = False
        elif c == 34:
            text = True
        elif c == 123:
            if depth == 0:
                rest = i
                starts[n] = i
            depth += 1
        elif c == 125:
            depth -= 1
            if depth == 0:
                ends[n] = i + 1
                n += 1
                rest = len(data)
            elif depth < 0:
                depth = 0
    return n, rest


class JsonReader:
    """Reads the members ``wanted`` of each object; a missing or null member is a blank field."""

    time_units: Mapping[str, str] = {}

    def __init__(self, path: Path, *, wanted: Sequence[str]) -> None:
        self._path, self._wanted = path, tuple(dict.fromkeys(wanted))
        self.done_ratio = 0.0

    def chunks(self) -> Iterator[TextChunk]:
        row, carry = 1, b""
        with open_bytes(self._path) as (source, done_ratio):
            while block := read_block(source, self._path):
                data = carry + block
                objects, rest = _objects(data)
                self.done_ratio = done_ratio()
                for at in range(0, len(objects), 1 << 14):
                    part = objects[at : at + (1 << 14)]
                    yield self._chunk(part, row)
                    row += len(part)
                carry = data[rest:]
                if len(carry) > MAX_LINE_BYTES:
                    raise UnreadableFile(
                        f"{self._path}: the object after row {row - 1} is over {MAX_LINE_BYTES:,} bytes"
                    )
        if carry:
            raise UnreadableFile(f"{self._path}: cut off after row {row - 1}, inside {carry[:60]!r}")

    def _chunk(self, objects: Sequence[bytes], first_row: int) -> TextChunk:
        fields: dict[str, list[bytes]] = {name: [] for name in self._wanted}
        whole = np.ones(len(objects), dtype=np.bool_)
        for i, text in enumerate(objects):
            try:
                members = _DECODER.decode(text)
            except _NO_OBJECT:
                members, whole[i] = {}, False
            for name, values in fields.items():
                values.append(_plain(members.get(name)))
        return TextChunk(
            row=np.arange(first_row, first_row + len(objects), dtype=np.int64),
            whole=whole,
            columns={name: _joined(values) for name, values in fields.items()},
            raw=lambda i: objects[i].decode(errors="backslashreplace"),
        )


def first_members(path: Path) -> list[str] | None:
    """The names in the first object of the file, or None when it does not begin as such JSON."""
    with open_bytes(path) as (source, _):
        head = read_block(source, path, 64 << 10)
    if head.lstrip()[:1] not in (b"[", b"{"):
        return None
    objects, _ = _objects(head)
    try:
        return list(_DECODER.decode(objects[0])) if objects else None
    except _NO_OBJECT:
        return None


def _objects(data: bytes) -> tuple[list[bytes], int]:
    most = data.count(b"{")
    starts, ends = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    n, rest = find_objects(np.frombuffer(data, dtype=np.uint8), starts, ends)
    return [data[a:b] for a, b in zip(starts[:n].tolist(), ends[:n].tolist(), strict=True)], int(rest)


def _plain(value: Any) -> bytes:
    text = bytes(value) if value is not None else b""
    return b"" if text == b"null" else text.strip(b'"')


def _joined(values: Sequence[bytes]) -> TextColumn:
    ends = np.cumsum([len(v) for v in values], dtype=np.int64)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1]))
    return TextColumn(np.frombuffer(b"".join(values) or b"\0", dtype=np.uint8), starts, ends)
