"""What volume says about a move: breakouts of volume, moves with and without it, who was taking.

Volumes are in base units. Each bar is measured against the bars before it, itself not counted.
"""

from alphapulse.domain.analysis.compiled import View, window_sum
from alphapulse.domain.analysis.fields import (
    CLOSE,
    TAKER_BUY,
    TIME,
    TRUE_RANGE,
    VOLUME,
    Field,
    Floats,
)
from alphapulse.domain.analysis.indicators.anomaly import MAX_WINDOW, finite, kept
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period
from alphapulse.domain.analysis.robust import LIMIT, judge


@indicator(
    name="volume_breakout",
    title="Volume breakout",
    kind="volume",
    inputs=(Field.VOLUME,),
    parameters=(
        Parameter("period", 50, 8, MAX_WINDOW),
        Parameter("threshold", 10, 0.5, LIMIT, whole=False, doc="robust standard deviations"),
    ),
    outputs=(
        Output("score", "score", low=-LIMIT, high=LIMIT),
        Output("ratio", "ratio", low=0, high=LIMIT),
        Output("breakout", "flag", low=0, high=1),
    ),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    carries=kept,
    lines=lambda _: 1,
    source="score: robust z of the volume; ratio: volume / median volume; breakout: score >= threshold",
)
def volume_breakout(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        t = row - view.first
        volume = lines[0, row & view.mask, view.lo : view.hi]
        handed_in = view.bars[VOLUME, row & view.mask, view.lo : view.hi]
        for i in range(volume.shape[0]):
            volume[i] = finite(handed_in[i])
        score, ratio = out[0, t, view.lo : view.hi], out[1, t, view.lo : view.hi]
        breakout = out[2, t, view.lo : view.hi]
        judge(view, row, lines[0], carry, ratio, score)
        for i in range(score.shape[0]):
            known = score[i] == score[i]
            # ratio holds the median so far; against none, any volume is at the limit.
            part = volume[i] / ratio[i] if ratio[i] > 0 else LIMIT if volume[i] > 0 else 1.0
            ratio[i] = min(part, LIMIT) if known else float("nan")
            breakout[i] = (1.0 if score[i] >= params[1] else 0.0) if known else float("nan")


@indicator(
    name="volume_confirmation",
    title="Move confirmed or contradicted by volume",
    kind="volume",
    inputs=(Field.HIGH, Field.LOW, Field.CLOSE, Field.VOLUME),
    parameters=(
        period(20),
        Parameter("move", 1, 0.1, 100, whole=False, doc="average true ranges that make a move"),
        Parameter("ratio", 1.5, 1, 100, whole=False, doc="of the mean volume, that confirms it"),
    ),
    outputs=(
        Output("move", "ratio", low=-LIMIT, high=LIMIT),
        Output("ratio", "ratio", low=0, high=LIMIT),
        Output("confirmed", "flag", low=-1, high=1),
    ),
    lookback=lambda p: int(p[0]) + 1,
    window=lambda p: int(p[0]),
    source="move: (close - last close) / mean true range, ratio: volume / mean volume, both over the bars "
    "before; a move is confirmed (1) at ratio or more, contradicted (-1) at 1 / ratio or less, else 0",
)
def volume_confirmation(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        t = row - view.first
        move, ratio = out[0, t, view.lo : view.hi], out[1, t, view.lo : view.hi]
        confirmed = out[2, t, view.lo : view.hi]
        window_sum(view.bars[TRUE_RANGE], row - 1, count, view.lo, view.hi, move)
        window_sum(view.bars[VOLUME], row - 1, count, view.lo, view.hi, ratio)
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
        volume = view.bars[VOLUME, row & view.mask, view.lo : view.hi]
        for i in range(move.shape[0]):
            change, reach, usual = close[i] - last[i], move[i] / count, ratio[i] / count
            if reach > 0:
                move[i] = min(max(change / reach, -LIMIT), LIMIT)
            else:  # nothing moved before: any move is at the limit
                move[i] = LIMIT if change > 0 else -LIMIT if change < 0 else 0.0
            if not (usual == usual and volume[i] == volume[i]):
                ratio[i], confirmed[i] = float("nan"), float("nan")
                continue
            part = volume[i] / usual if usual > 0 else LIMIT if volume[i] > 0 else 1.0
            ratio[i] = min(part, LIMIT)
            moved = abs(move[i]) >= params[1]
            confirmed[i] = (
                0.0 if not moved else 1.0 if part >= params[2] else -1.0 if part <= 1 / params[2] else 0.0
            )


@indicator(
    name="cumulative_delta",
    title="Cumulative volume delta",
    kind="volume",
    inputs=(Field.VOLUME, Field.TAKER_BUY),
    parameters=(period(50),),
    outputs=(
        Output("delta", "base", volumes=1),
        Output("ratio", "ratio", low=-1, high=1),
    ),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    source="sum over the last bars of 2 * taker buy - volume: what takers bought less what they sold; "
    "ratio: that sum / the volume of these bars, 0 where there was none",
)
def cumulative_delta(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        t = row - view.first
        bought = view.bars[TAKER_BUY, row & view.mask, view.lo : view.hi]
        volume = view.bars[VOLUME, row & view.mask, view.lo : view.hi]
        delta = lines[0, row & view.mask, view.lo : view.hi]
        for i in range(delta.shape[0]):
            delta[i] = bought[i] - (volume[i] - bought[i])
        total, ratio = out[0, t, view.lo : view.hi], out[1, t, view.lo : view.hi]
        window_sum(lines[0], row, count, view.lo, view.hi, total)
        window_sum(view.bars[VOLUME], row, count, view.lo, view.hi, ratio)
        for i in range(total.shape[0]):
            share = total[i] / ratio[i] if ratio[i] > 0 else total[i]  # 0, or NaN
            ratio[i] = min(max(share, -1.0), 1.0) if share == share else share


@indicator(
    name="session_delta",
    title="Cumulative volume delta of the session",
    kind="volume",
    inputs=(Field.TIME, Field.VOLUME, Field.TAKER_BUY),
    parameters=(
        Parameter("session", 1440, 1, 10_080, doc="minutes; 1440 is a UTC day"),
        Parameter("anchor", 0, 0, 10_079, doc="minutes after 1970-01-01 00:00 UTC at which one begins"),
    ),
    outputs=(Output("delta", "base", volumes=1),),
    lookback=lambda _: 0,
    forgets=lambda p: int(p[0]) + 1,
    carries=lambda _: 2,
    source="sum since the session began of 2 * taker buy - volume; a bar belongs to the session it opens in",
    relation=lambda p: None if p[1] < p[0] else f"anchor {p[1]:g} needs to be below session {p[0]:g}",
)
def session_delta(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    total, session = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    for row in range(view.first, view.last):
        time = view.bars[TIME, row & view.mask, view.lo : view.hi]
        bought = view.bars[TAKER_BUY, row & view.mask, view.lo : view.hi]
        volume = view.bars[VOLUME, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            now = (time[i] - params[1]) // params[0] + 1  # 0: none yet
            if now != session[i]:
                session[i], total[i] = now, 0.0
            total[i] += bought[i] - (volume[i] - bought[i])
            into[i] = total[i]
