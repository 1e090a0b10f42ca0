"""Seeded mutations of inputs: the same seed gives the same inputs, on any machine and version of Python."""

from collections.abc import Callable, Sequence
from random import Random

_EDGES = (
    *(0, -1, 1, 127, 128, 255, 256, 65_535, 65_536, 10_000, 10_001),
    *(2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30),
)
NUMBERS = (
    *(str(n).encode() for n in _EDGES),
    *(b"1e308", b"1e999", b"-0", b"0.1", b"1e-400", b"NaN", b"Infinity", b"9" * 5_000, b"0x10", b"1_0"),
)
_WORDS = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    "é٣🦉".encode(),
    b'"',
    b"\n",
    b"\r",
    b"\\u0000",
    b"null",
)
_DEEP = tuple(pair * 2_000 for pair in (b"[", b"{", b'{"a":', b"("))
_MOST_STEPS = 6


class Mutator:
    """Makes inputs of at most ``most`` bytes out of others; ``words`` are the target's own."""

    def __init__(self, random: Random, words: Sequence[bytes], most: int) -> None:
        self._random, self._most = random, most
        self._words = [*words, *NUMBERS, *_WORDS]
        self._deep = _DEEP
        self._ways: Sequence[Callable[[bytearray, Sequence[bytes]], None]] = (
            *(self._flip, self._byte, self._remove, self._repeat, self._word, self._word, self._number),
            *(self._splice, self._swap, self._cut, self._integer, self._nest),
        )

    def mutated(self, begin: Sequence[bytes], pool: Sequence[bytes]) -> bytes:
        """One of ``begin``, changed in one to six places, perhaps with parts of others in ``pool``."""
        data = bytearray(self._random.choice(begin))
        for _ in range(1 + self._random.randrange(_MOST_STEPS)):
            self._random.choice(self._ways)(data, pool)
        return bytes(data[: self._most])

    def _place(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _span(self, data: bytes | bytearray) -> tuple[int, int]:
        first = self._random.randrange(len(data) + 1)
        return first, min(len(data), first + 1 + int(self._random.expovariate(1 / 12)))

    def _flip(self, data: bytearray, _: Sequence[bytes]) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _byte(self, data: bytearray, _: Sequence[bytes]) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _remove(self, data: bytearray, _: Sequence[bytes]) -> None:
        first, last = self._span(data)
        del data[first:last]

    def _repeat(self, data: bytearray, _: Sequence[bytes]) -> None:
        first, last = self._span(data)
        data[last:last] = data[first:last] * self._random.choice((1, 1, 2, 7, 100))

    def _word(self, data: bytearray, _: Sequence[bytes]) -> None:
        first, last = self._span(data)
        data[first : self._random.choice((first, last))] = self._random.choice(self._words)

    def _number(self, data: bytearray, _: Sequence[bytes]) -> None:
        """Another number where one stands in digits."""
        digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
        if digits:
            first = last = self._random.choice(digits)
            while last < len(data) and 48 <= data[last] <= 57:
                last += 1
            data[first:last] = self._random.choice(NUMBERS)

    def _integer(self, data: bytearray, _: Sequence[bytes]) -> None:
        """Another number where one may stand in bytes: lengths, counts."""
        width = self._random.choice((1, 2, 4, 8))
        if len(data) >= width:
            at = self._random.randrange(len(data) - width + 1)
            value = self._random.choice((0, 1, 127, 128, 255, -1, -2, 1 << (8 * width - 1), len(data)))
            order = self._random.choice(("little", "big"))
            data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]

    def _splice(self, data: bytearray, pool: Sequence[bytes]) -> None:
        other = self._random.choice(pool)
        first, last = self._span(other)
        at = self._place(data)
        data[at:at] = other[first : last if self._random.random() < 0.5 else None]

    def _swap(self, data: bytearray, _: Sequence[bytes]) -> None:
        first, last = self._span(data)
        part = data[first:last]
        del data[first:last]
        at = self._place(data)
        data[at:at] = part

    def _cut(self, data: bytearray, _: Sequence[bytes]) -> None:
        if self._random.random() < 0.3:
            del data[self._place(data) :]

    def _nest(self, data: bytearray, _: Sequence[bytes]) -> None:
        if self._random.random() < 0.1:
            at = self._place(data)
            data[at:at] = self._random.choice(self._deep)
