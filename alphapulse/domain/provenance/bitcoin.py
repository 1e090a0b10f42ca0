"""The header of a Bitcoin block: 80 bytes with the Merkle root of its transactions, a time, and work.

Little-endian: version (4 bytes), hash of the block before (32), Merkle root (32), time in seconds since 1970
UTC (4), target in compact form (4), nonce (4). Its hash is SHA-256 twice. Who makes up a header that carries
much work must do that work. A block's time is its miner's, true to about two hours: after the middle of the
eleven blocks before, and less than two hours ahead of those who accept it (Bitcoin Core, validation.cpp).
"""

from dataclasses import dataclass
from hashlib import sha256

HEADER_BYTES = 80
LEAST_WORK = 1 << 75  # hashes on average for one block; every block since 2020 took more


class BadHeader(ValueError):
    """Not the header of such a block; says what is wrong."""


@dataclass(frozen=True, slots=True)
class BlockHeader:
    data: bytes

    @property
    def root(self) -> bytes:
        """Merkle root of the transactions, as it stands in the header."""
        return self.data[36:68]

    @property
    def time(self) -> int:
        """Seconds since 1970 UTC, by the miner."""
        return int.from_bytes(self.data[68:72], "little")

    @property
    def hash(self) -> str:
        """As explorers write it."""
        return _twice(self.data)[::-1].hex()

    @property
    def target(self) -> int:
        """What the hash, as a little-endian number, may not be over."""
        bits = int.from_bytes(self.data[72:76], "little")
        exponent, mantissa = bits >> 24, bits & 0x7FFFFF
        return mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)

    @property
    def work(self) -> int:
        """How many hashes it takes on average."""
        return (1 << 256) // (self.target + 1)

    @property
    def is_worked(self) -> bool:
        return int.from_bytes(_twice(self.data), "little") <= self.target


def block_header(data: bytes, root: bytes, *, least_work: int = LEAST_WORK) -> BlockHeader:
    """The header in ``data``, if its Merkle root is ``root`` and its work was done.

    Raises:
        BadHeader: it is not.
    """
    if len(data) != HEADER_BYTES:
        raise BadHeader(f"a header of {len(data)} bytes, not {HEADER_BYTES}")
    found = BlockHeader(data)
    if found.root != root:
        raise BadHeader(f"block {found.hash} has the root {found.root.hex()}, not {root.hex()}")
    if not found.is_worked:
        raise BadHeader(f"block {found.hash} does not meet its target {found.target:064x}")
    if found.work < least_work:
        raise BadHeader(
            f"block {found.hash} took {found.work:.3g} hashes, where {least_work:.3g} is the least"
        )
    return found


def _twice(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()
