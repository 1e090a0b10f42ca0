"""Our indicators against tables of other packages, to the digits that these print.

Where a package defines something else, or begins otherwise and the table is too short to forget it, the map
says so: no table is left out in silence.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.reference_map import (
    CANDLES,
    TABLES,
    TALIB_COLUMNS,
    TALIB_OUTPUTS,
    TULIP,
    TULIP_FILES,
    UNLIKE,
    UNLIKE_TULIP,
    WITHOUT_80,
    Same,
)
from tests.domain.analysis.reference_tables import Column, files, table, tulip
from tests.domain.analysis.series import from_ohlcv
from tests.domain.analysis.test_patterns_talib import TALIB
from tests.market_data import data_file

ENOUGH = 3  # rows, or a comparison says nothing


@pytest.fixture
def folder() -> Path:
    return data_file("reference/tulip/atoz.txt").parent.parent


def ours(output: str, bars: Floats) -> Floats:
    """The values of a spec, or of one output of it: ``adx(14).plus_di``."""
    spec, _, name = output.rpartition(".") if output.rpartition(".")[2].isidentifier() else (output, "", "")
    found = Spec.parse(spec or output)
    names = [o.name for o in found.known.outputs]
    values: Floats = compute([found], bars)[names.index(name) if name in names else 0]
    return values


def differences(same: Same, bars: Floats, theirs: Column) -> str:
    """Empty if each row that both have agrees to the digits that are printed."""
    mine = ours(same.output, bars) * same.times
    mine = mine - mine[0] if same.from_zero else mine
    mine = np.where(np.abs(mine) == same.silent, 0.0, mine)
    mine = np.concatenate([np.full(same.shift, np.nan), mine[: len(mine) - same.shift]])
    both = ~np.isnan(mine) & ~np.isnan(theirs.values) & (np.arange(len(mine)) >= same.first)
    both[list(same.apart)] = False
    allowed = 1.01 * theirs.unit + same.relative * np.abs(theirs.values) + same.within + 1e-11
    bad = both & (np.abs(mine - theirs.values) > allowed)
    if both.sum() < ENOUGH:
        return f"{same.output}: {both.sum()} rows to compare"
    if not bad.any():
        return ""
    row = int(np.argmax(bad))
    return f"{same.output}: {bad.sum()} of {both.sum()} rows, row {row}: {mine[row]} for {theirs.values[row]}"


def problems(same: Mapping[str, Same], bars: Floats, columns: Mapping[str, Column]) -> list[str]:
    found = {name: differences(output, bars, columns[name]) for name, output in same.items()}
    return [f"{name}: {problem}" for name, problem in found.items() if problem]


@pytest.mark.parametrize("name", TABLES)
def test_agrees_with_the_table(name: str, folder: Path) -> None:
    read = table(folder, name)
    assert not problems(TABLES[name], read.bars, read.columns)


@pytest.mark.parametrize("name", TALIB_OUTPUTS)
def test_agrees_with_what_talib_gave_when_the_table_was_made(name: str, folder: Path) -> None:
    read = table(folder, name)
    known = {column: Same(output) for column, output in TALIB_COLUMNS.items()}
    assert not problems(known, read.bars, read.columns)


@pytest.mark.parametrize("name", CANDLES)
def test_candlestick_patterns_agree_with_the_table(name: str, folder: Path) -> None:
    read = table(folder, name)
    known = {
        function: Same(f"{pattern}.signal", silent=80.0 if function in WITHOUT_80 else 0.0)
        for pattern, function in TALIB.items()
    }
    assert not problems(known, read.bars, read.columns)


@pytest.mark.parametrize("name", TULIP_FILES)
def test_agrees_with_tulip(name: str, folder: Path) -> None:
    found = [p for head, columns in tulip(folder, name).items() for p in tulip_problems(head, columns)]
    assert not found


def tulip_problems(head: str, columns: list[Column]) -> list[str]:
    function, *options = head.split()
    if function not in TULIP:
        return []
    inputs, outputs = TULIP[function]
    if len(columns) % (len(inputs) + len(outputs)):
        return [f"{head}: {len(columns)} vectors for {len(inputs)} inputs and {len(outputs)} outputs"]
    fed = dict(zip(inputs, (c.values for c in columns), strict=False))
    close = fed.get("close", fed.get("high"))
    assert close is not None
    high, low, volume = fed.get("high", close), fed.get("low", close), fed.get("volume", close)
    bars = from_ohlcv(close, high, low, close, volume)
    pairs = zip(outputs, columns[len(inputs) : len(inputs) + len(outputs)], strict=True)
    found = [differences(filled(same, options), bars, at_the_end(c, len(close))) for same, c in pairs]
    return [f"{head}: {problem}" for problem in found if problem]


def filled(same: Same, options: list[str]) -> Same:
    numbers = {**vars_of(same), "output": same.output.format(*options)}
    return Same(**numbers)


def vars_of(same: Same) -> dict[str, object]:
    return {name: getattr(same, name) for name in Same.__dataclass_fields__}


def at_the_end(column: Column, count: int) -> Column:
    """Tulip leaves out the rows before the first value."""
    missing = count - len(column.values)
    unit = 2 * column.unit  # some of its digits are cut off, not rounded
    return Column(
        np.concatenate([np.full(missing, np.nan), column.values]), np.concatenate([np.zeros(missing), unit])
    )


def test_every_table_is_compared_or_says_why_not(folder: Path) -> None:
    compared = {*TABLES, *CANDLES, *TALIB_OUTPUTS, *TULIP_FILES}
    assert not compared & set(UNLIKE)
    assert sorted(compared | set(UNLIKE)) == files(folder)


def test_what_is_said_of_tulip_is_said_of_tests_that_it_has(folder: Path) -> None:
    heads = {head.split()[0] for name in TULIP_FILES for head in tulip(folder, name)}
    assert set(TULIP) | set(UNLIKE_TULIP) <= heads
    assert not set(TULIP) & set(UNLIKE_TULIP)
