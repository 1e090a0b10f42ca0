"""Asks the read models for what a chart shows, and has it drawn.

What can be shown: any registered indicator by its name and parameters; ``patterns``, ``signals`` and
``anomalies`` (marks at the bars where one was detected), ``levels`` and ``regime``.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.adapters.charts.picture import LevelLine, Line, Mark, Pane, Picture, lies_among_prices
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import HIGH, LOW, Floats
from alphapulse.domain.analysis.indicators.regime import NAMES
from alphapulse.domain.analysis.levels import levels
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.registry import BadParameter, Spec, everything
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.projections.analysis_queries import Span, bars_with_lead, values_of

GROUPS: Mapping[str, str] = {"patterns": "pattern", "signals": "signal", "anomalies": "anomaly"}
OTHERS = ("levels", "regime")
FORMATS = (".png", ".svg", ".html")
MAX_LEVELS = 12
MAX_BARS = 2_000  # more would be narrower than a pixel
_GUIDES: Mapping[str, tuple[float, ...]] = {
    "rsi": (30, 70),
    "stoch": (20, 80),
    "stochf": (20, 80),
    "stochrsi": (20, 80),
    "willr": (-80, -20),
    "mfi": (20, 80),
    "cci": (-100, 100),
    "adx": (25,),
}


class NothingToDraw(Exception):
    """No bar is known of that market and timeframe, or the file's format is none of ours."""


def wanted(text: str) -> list[str]:
    """The entries of ``rsi,bbands(period=20,width=2),patterns``: commas inside brackets separate nothing."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def chosen(entries: Sequence[str]) -> tuple[list[Spec], list[str]]:
    """Indicators, and names of groups. Raises BadParameter, which says what there is."""
    groups = [entry for entry in entries if entry in GROUPS or entry in OTHERS]
    try:
        return [Spec.parse(entry) for entry in entries if entry not in groups], groups
    except BadParameter as error:
        raise BadParameter(f"{error}; besides indicators there are {', '.join([*GROUPS, *OTHERS])}") from None


async def chart(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    entries: Sequence[str],
    *,
    last: int,
    as_of: int | None,
) -> Picture:
    """The picture of the ``last`` bars with ``entries``.

    Raises:
        BadParameter, NothingToDraw, QueryTooLarge, NotYetFolded: as their messages say.
    """
    if not 1 <= last <= MAX_BARS:
        raise BadParameter(f"last {last} needs 1 to {MAX_BARS}")
    specs, groups = chosen(entries)
    marked = [
        Spec.of(name) for name, known in everything().items() if known.kind in {GROUPS.get(g) for g in groups}
    ]
    regime = [Spec.of("regime")] if "regime" in groups else []
    plan = Plan(dict.fromkeys([*specs, *marked, *regime]))
    bars, lead, position = await bars_with_lead(
        conn, instrument, timeframe, Span(last=last), lead=plan.forgets, as_of=as_of
    )
    if not len(bars):
        raise NothingToDraw(f"no {LABELS[timeframe]} bar of {instrument} was known at position {position}")
    values = await asyncio.to_thread(values_of, plan, bars, lead)
    shown = bars.take(slice(lead, None))
    columns = dict(zip(plan.columns, values, strict=True))
    overlays, panes = _plots(specs, columns, shown)
    return Picture(
        title=f"{instrument}  {LABELS[timeframe]}  {len(shown)} bars as of position {position}",
        bars=shown,
        overlays=overlays,
        panes=panes,
        marks=[mark for spec in marked for mark in _marks(spec, columns)],
        levels=_levels(bars, shown) if "levels" in groups else (),
        regimes=_regimes(columns) if regime else (),
        notes=[spec.known.title for spec in specs],
    )


def _plots(specs: Sequence[Spec], columns: Mapping[str, Floats], bars: Bars) -> tuple[list[Line], list[Pane]]:
    overlays: list[Line] = []
    panes: list[Pane] = []
    for spec in specs:
        there = [Line(name, columns[name]) for name in spec.columns]
        priced = [
            o.unit == "price" and lies_among_prices(line.values, bars)
            for o, line in zip(spec.known.outputs, there, strict=True)
        ]
        over = [line for line, is_price in zip(there, priced, strict=True) if is_price]
        below = [line for line, is_price in zip(there, priced, strict=True) if not is_price]
        overlays += over
        if below:
            panes.append(Pane(str(spec), below, _GUIDES.get(spec.indicator, ())))
    return overlays, panes


def _marks(spec: Spec, columns: Mapping[str, Floats]) -> Iterator[Mark]:
    """A mark at each bar where the output ``signal`` (or ``flag``) of ``spec`` is not 0."""
    by_name = {o.name: columns[c] for o, c in zip(spec.known.outputs, spec.columns, strict=True)}
    signal = by_name.get("signal", by_name.get("flag"))
    if signal is None:
        return
    strength = by_name.get("strength", np.ones_like(signal))
    for row in np.flatnonzero(np.nan_to_num(signal)).tolist():
        share = float(np.clip(np.nan_to_num(strength[row], nan=1.0), 0, 1))
        yield Mark(row, int(np.sign(signal[row])), spec.indicator.replace("_", " "), share)


def _regimes(columns: Mapping[str, Floats]) -> Sequence[str]:
    codes = next(values for name, values in columns.items() if name.startswith("regime"))
    return ["" if np.isnan(code) else NAMES[code] for code in codes.tolist()]


def _levels(bars: Bars, shown: Bars) -> Sequence[LevelLine]:
    """The strongest levels known now that lie inside the picture."""
    atr = compute([Spec.of("atr")], bars.values)[0]
    low, high = float(shown.values[LOW].min()), float(shown.values[HIGH].max())
    inside = [level for level in levels(bars, atr) if low <= level.price <= high]
    strongest = sorted(inside, key=lambda level: -level.strength)[:MAX_LEVELS]
    return [
        LevelLine(level.price, f"{level.kind.replace('_', ' ')} {level.price:,.10g}", level.strength)
        for level in strongest
    ]


def save(picture: Picture, file: Path) -> None:
    """Draw ``picture`` into ``file``; its suffix says how.

    Raises:
        NothingToDraw: the suffix is none of FORMATS.
        NoAssets: a page needs the built browser assets.
    """
    if file.suffix not in FORMATS:
        raise NothingToDraw(f"{file} ends in none of {', '.join(FORMATS)}")
    if file.suffix == ".html":
        from alphapulse.adapters.charts.page import write_page
        from alphapulse.graphql.pages import ASSETS

        write_page(picture, file, ASSETS)
    else:
        from alphapulse.adapters.charts.drawing import draw

        draw(picture, file)
