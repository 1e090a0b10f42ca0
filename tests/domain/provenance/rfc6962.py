"""The tree once more, straight from RFC 6962 section 2.1: recursive, slow, and plain to compare with."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256


class RecursiveTree:
    """A tree over leaf hashes; what its ranges hash to is remembered."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves

    @cached_property
    def _known(self) -> dict[tuple[int, int], bytes]:
        return {}

    def root(self, lo: int, hi: int) -> bytes:
        """MTH(D[lo:hi])."""
        if (lo, hi) not in self._known:
            self._known[lo, hi] = self._root(lo, hi)
        return self._known[lo, hi]

    def _root(self, lo: int, hi: int) -> bytes:
        if lo == hi:
            return sha256().digest()
        if hi - lo == 1:
            return self.leaves[lo]
        k = half(hi - lo)
        return sha256(b"\x01" + self.root(lo, lo + k) + self.root(lo + k, hi)).digest()

    def path(self, m: int, lo: int, hi: int) -> list[bytes]:
        """PATH(m, D[lo:hi]), section 2.1.1."""
        if hi - lo == 1:
            return []
        k = half(hi - lo)
        if m < k:
            return [*self.path(m, lo, lo + k), self.root(lo + k, hi)]
        return [*self.path(m - k, lo + k, hi), self.root(lo, lo + k)]

    def proof(self, m: int, n: int) -> list[bytes]:
        """PROOF(m, D[n]), section 2.1.2."""
        return self._subproof(m, 0, n, True)

    def _subproof(self, m: int, lo: int, hi: int, is_whole: bool) -> list[bytes]:
        if m == hi - lo:
            return [] if is_whole else [self.root(lo, hi)]
        k = half(hi - lo)
        if m <= k:
            return [*self._subproof(m, lo, lo + k, is_whole), self.root(lo + k, hi)]
        return [*self._subproof(m - k, lo + k, hi, False), self.root(lo, lo + k)]


def half(n: int) -> int:
    """The largest power of two smaller than ``n``."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k
