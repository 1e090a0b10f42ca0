"""Tiles by the rules of C2SP tlog-tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.provenance.merkle import Node
from alphapulse.domain.provenance.tiles import MAX_LEVEL, TILE_WIDTH, NoTile, Tile, tiles_of

tiles = st.builds(Tile, st.integers(0, MAX_LEVEL), st.integers(0, 2**55 - 1), st.integers(1, TILE_WIDTH))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(0, 1234067, 17), "tile/0/x001/x234/067.p/17"),
        (Tile(7, 0, 1), "tile/7/000.p/1"),
    ],
)
def test_a_tile_has_the_path_that_the_specification_gives_it(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(tiles)
def test_every_tile_is_found_by_its_path(tile: Tile) -> None:
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/",
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/001.p/0",
        "tile/0/001.p/07",
        "tile/0/001.p/256",
        "tile/0/001.p/257",
        "tile/0/001.p",
        "tile/00/001",
        "tile/8/001",
        "tile/63/001",
        "tile/-1/001",
        "tile/data/001",
        "tile/0/001\n",
        "/tile/0/001",
        "tile/0/\u0660\u0660\u0661",
        "tile/0/../001",
        "tile/0/" + "x001/" * 7 + "000",
    ],
)
def test_no_tile_has_a_path_that_is_not_exactly_so(path: str) -> None:
    with pytest.raises(NoTile):
        Tile.parse(path)


def test_what_is_no_tile_is_told_by_its_path() -> None:
    with pytest.raises(NoTile, match="'tile/0/x000/001' is no path of a tile: it would be tile/0/001"):
        Tile.parse("tile/0/x000/001")


@pytest.mark.parametrize(
    ("level", "number", "width"), [(-1, 0, 256), (8, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)]
)
def test_there_is_no_tile_of_other_coordinates(level: int, number: int, width: int) -> None:
    with pytest.raises(NoTile, match=f"no tile has level {level}, number {number} and width {width}"):
        Tile(level, number, width)


def test_a_tile_holds_the_nodes_of_every_eighth_level_in_a_row() -> None:
    assert Tile(0, 3).nodes == [Node(0, number) for number in range(768, 1024)]
    assert Tile(2, 1, 3).nodes == [Node(16, 256), Node(16, 257), Node(16, 258)]


@given(tiles, st.integers(-300, 300))
def test_a_tile_is_there_when_the_last_of_its_hashes_is(tile: Tile, more: int) -> None:
    last = tile.nodes[-1]
    needed = (last.number + 1) << last.level
    size = max(0, needed + more)
    assert tile.is_in(size) == (size >= needed)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 70_000])
def test_the_tiles_of_a_tree_hold_each_hash_of_their_levels_once(size: int) -> None:
    found = list(tiles_of(size))
    assert all(tile.is_in(size) for tile in found)
    for level in range(4):
        nodes = [node.number for tile in found if tile.level == level for node in tile.nodes]
        assert nodes == list(range(size >> (8 * level)))
    assert sum(tile.width < TILE_WIDTH for tile in found) <= len({tile.level for tile in found})
