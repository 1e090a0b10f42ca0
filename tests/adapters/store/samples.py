"""Writes the sample of every stored name that has none yet: ``python -m tests.adapters.store.samples``.

A sample is written once, when its name is new, and never again: it is what the log of that day holds.
"""

import base64
import json
from collections.abc import Mapping

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.models import FittedModel, ModelFitted, Trained
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    ImportFinished,
    RefusedRow,
    RowsRefused,
    WatermarkPassed,
)
from tests.adapters.store.market import bars, trades
from tests.adapters.store.test_codec import SAMPLES, plain

_WHERE: Mapping[str, str] = {"venue": "kraken", "symbol": "BTC/USD"}
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIME = 1_700_000_000_123_000_000

EXAMPLES: tuple[object, ...] = (
    trades(5),
    bars(3),
    FeedConnected(**_WHERE, time=_TIME),
    FeedLost(**_WHERE, time=_TIME, reason="no message for 30 s"),
    GapClosed(**_WHERE, start=_TIME, end=_TIME + 60_000_000_000, back_filled=True),
    WatermarkPassed(**_WHERE, time=_TIME),
    RowsRefused(
        **_WHERE,
        source="trades.csv",
        sha256=_SHA,
        rows=(RefusedRow(row=3, reason="size is negative: -1", raw="1,2,-1"),),
    ),
    ImportFinished(
        **_WHERE,
        source="trades.csv",
        sha256=_SHA,
        format="generic",
        rows=10,
        accepted=8,
        duplicates=1,
        refused=1,
        time_lo=_TIME,
        time_hi=None,
    ),
    ModelFitted(
        version=2,
        part=1,
        parts=1,
        digest=_SHA,
        model=FittedModel(
            name="btc-1h",
            kind="regime_hmm",
            instrument="kraken:BTC/USD",
            timeframe=60,
            features=("realized_volatility(period=20)",),
            recipe={"states": 2},
            trained=Trained(
                first_start=28_272_000,
                last_start=28_331_940,
                first_position=12,
                last_position=1_034,
                known_time=_TIME,
                bars=1_000,
            ),
            parameters={"means": [[-0.5], [1.25]]},
            artifact=b"onnx",
            metrics={"log_likelihood": -1234.5},
            code_versions={"realized_volatility": 1},
            libraries={"hmmlearn": "0.3.3"},
            seed=7,
        ),
    ),
)


def main() -> None:
    for event in EXAMPLES:
        encoded = codec.encode(event)
        path = SAMPLES / f"{encoded.name}.json"
        if not path.exists():
            sample = {"state": base64.b64encode(encoded.state).decode(), "event": plain(event)}
            path.write_text(json.dumps(sample, indent=1) + "\n")


if __name__ == "__main__":
    main()
