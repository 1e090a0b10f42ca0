"""The tree cut into tiles, as C2SP tlog-tiles names them: pieces of it that are served as plain files.

Tile (level, number) holds up to 256 hashes in a row: those of the nodes of level 8 * ``level`` from number
256 * ``number`` on. A tile at the tree's right edge is partial and says its width; a full one never changes,
and neither does a partial one, for a wider tile has another path.

    tile/<level>/<number>           the number in groups of three digits, all but the last behind an x
    tile/0/x001/x234/067            tile 1234067 of the leaves
    tile/0/x001/x234/067.p/17       its first 17 hashes
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alphapulse.domain.provenance.merkle import Node
from alphapulse.domain.provenance.sealing import TILE_LEVELS

TILE_WIDTH = 1 << TILE_LEVELS
MAX_LEVEL = 63 // TILE_LEVELS  # more levels than leaves that 63 bits can count
_PATH = re.compile(r"tile/(\d|[1-9]\d)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)
_MAX_GROUPS = 7  # 10**21 tiles, more than 63 bits can count


class NoTile(ValueError):
    """Not the path of a tile; holds it."""


@dataclass(frozen=True, slots=True)
class Tile:
    level: int
    number: int
    width: int = TILE_WIDTH  # hashes in it: 1 to 256

    def __post_init__(self) -> None:
        if not (0 <= self.level <= MAX_LEVEL and self.number >= 0 and 1 <= self.width <= TILE_WIDTH):
            raise NoTile(f"no tile has level {self.level}, number {self.number} and width {self.width}")

    @property
    def path(self) -> str:
        """Where it is served, below the address of the log."""
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{_groups(self.number)}{partial}"

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Raises NoTile: no tile has this path. Each has one only."""
        found = _PATH.fullmatch(path)
        if not found or found[2].count("/") >= _MAX_GROUPS:
            raise NoTile(f"{path!r} is no path of a tile")
        number = int(re.sub("[x/]", "", found[2]))
        tile = cls(int(found[1]), number, int(found[3] or TILE_WIDTH))
        if tile.path != path:
            raise NoTile(f"{path!r} is no path of a tile: it would be {tile.path}")
        return tile

    @property
    def nodes(self) -> Sequence[Node]:
        """Whose hashes it holds, in this order."""
        first = self.number * TILE_WIDTH
        level = self.level * TILE_LEVELS
        return [Node(level, number) for number in range(first, first + self.width)]

    def is_in(self, size: int) -> bool:
        """Whether a tree of ``size`` leaves has all of its hashes."""
        last = self.number * TILE_WIDTH + self.width
        return last << (self.level * TILE_LEVELS) <= size


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile of a tree of ``size`` leaves, partial ones as wide as they are, level by level."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, TILE_WIDTH)
        yield from (Tile(level, number) for number in range(full))
        if rest:
            yield Tile(level, full, rest)
        level, count = level + 1, full


def _groups(number: int) -> str:
    """``number`` as a path: 1234067 is x001/x234/067."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03}")
    return "/".join(reversed(groups))
