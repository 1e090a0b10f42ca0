"""A picture as one HTML file that needs nothing else: the data, and the charting code of our own assets.

The code is lightweight-charts, bundled when the browser assets are built (web/build.py).
"""

from collections.abc import Sequence
from html import escape
from math import isnan
from pathlib import Path
from typing import Any

import orjson

from alphapulse.adapters.charts.picture import Line, Picture
from alphapulse.domain.analysis.fields import Floats


class NoAssets(Exception):
    """The browser assets are not built: say so, and what else there is."""


def write_page(picture: Picture, file: Path, assets: Path) -> None:
    """Write ``picture`` to ``file``.

    Raises:
        NoAssets: chart.js is not among the built assets.
    """
    file.write_text(page(picture, assets), encoding="utf-8")


def page(picture: Picture, assets: Path) -> str:
    """The text of the HTML file; raises as ``write_page``."""
    try:
        code = (assets / "chart.js").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NoAssets(
            f"{assets / 'chart.js'} is not built: run `make setup`, or draw a .png or .svg"
        ) from None
    # Inside a script element no text may close it.
    data = orjson.dumps(data_of(picture)).decode().replace("</", "<\\/")
    code = code.replace("</script", "<\\/script")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(picture.title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{margin:0;background:#131722;color:#d1d4dc;font:14px system-ui,sans-serif}}
h1{{font-size:15px;margin:10px 14px}}#chart{{position:absolute;inset:38px 0 26px 0}}
#notes{{position:absolute;bottom:4px;left:14px;font-size:12px;color:#8b93a7}}</style></head>
<body><h1>{escape(picture.title)}</h1><div id="chart"></div>
<div id="notes">{escape("   ".join(picture.notes))}</div>
<script id="data" type="application/json">{data}</script>
<script>{code}</script></body></html>
"""


def data_of(picture: Picture) -> dict[str, Any]:
    """What the code draws. Times are seconds since 1970 UTC; NaN is null."""
    seconds = (picture.bars.start * 60).tolist()
    return {
        "bars": [
            {"time": t, "open": o, "high": h, "low": lo, "close": c}
            for t, o, h, lo, c in zip(
                seconds, *(v.tolist() for v in (picture.open, picture.high, picture.low, picture.close)),
                strict=True,
            )
        ],
        "volume": _points(seconds, picture.volume),
        "overlays": _lines(seconds, picture.overlays),
        "panes": [
            {
                "title": pane.title,
                "guides": list(pane.guides),
                "lines": _lines(seconds, pane.lines),
            }
            for pane in picture.panes
        ],
        "marks": [
            {"time": seconds[m.row], "direction": m.direction, "text": m.text, "strength": m.strength}
            for m in sorted(picture.marks, key=lambda m: m.row)
        ],
        "levels": [{"price": level.price, "text": level.text} for level in picture.levels],
    }  # fmt: skip


def _lines(seconds: Sequence[int], lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [{"name": line.name, "points": _points(seconds, line.values)} for line in lines]


def _points(seconds: Sequence[int], values: Floats) -> list[dict[str, float]]:
    """Known values with their times; a time without a value leaves a hole in the line."""
    return [
        {"time": t} if isnan(v) else {"time": t, "value": v}
        for t, v in zip(seconds, values.tolist(), strict=True)
    ]
