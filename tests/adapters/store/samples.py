"""Writes the sample of every stored name that has none yet: ``python -m tests.adapters.store.samples``.

A sample is written once, when its name is new, and never again: it is what the log of that day holds.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.features import Feature, SetDefined, SetRetired
from alphapulse.domain.analysis.models import FittedModel, ModelFitted, Trained
from alphapulse.domain.analysis.quality_record import QualityBreached, QualityRecovered
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    ImportFinished,
    RefusedRow,
    RowsRefused,
    WatermarkPassed,
)
from alphapulse.domain.provenance.exported import AuditExported
from tests.adapters.store import decided
from tests.adapters.store.market import bars, funding, headlines, trades
from tests.adapters.store.test_codec import SAMPLES, plain

_WHERE: Mapping[str, str] = {"venue": "kraken", "symbol": "BTC/USD"}
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIME = 1_700_000_000_123_000_000
_JUDGED: Mapping[str, Any] = {
    "set_name": "momentum",
    "set_version": 3,
    "instrument": "kraken:BTC/USD",
    "timeframe": 60,
    "feature": "rsi",
    "check": "ks",
    "value": 0.375,
    "threshold": 0.2,
    "rows": 500,
    "reference_rows": 5_000,
    "detail": "p = 1.2e-08",
    "clock": _TIME,
    "seen_position": 1_034,
}

EXAMPLES: tuple[object, ...] = (
    trades(5),
    bars(3),
    funding(3),
    headlines(),
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
    SetDefined(
        name="core",
        version=2,
        owner="research",
        description="What most models look at.",
        timeframes=(1, 60),
        features=(
            Feature(name="rsi_14", rule="rsi", parameters={"period": 14.0}, output="rsi", code_version=1),
            Feature(
                name="day_width",
                rule="bbands",
                parameters={"period": 20.0, "width": 2.5},
                output="width",
                timeframe=1_440,
                lag=3,
                code_version=2,
            ),
        ),
        digest=_SHA,
    ),
    SetRetired(name="core", version=1, reason="replaced by version 2"),
    QualityBreached(**_JUDGED),
    QualityRecovered(**{**_JUDGED, "feature": "", "check": "stale", "value": 0.5, "threshold": 10.0}),
    *decided.EXAMPLES,
    AuditExported(
        kind="export",
        asked={"strategy": "trend", "recorded": [1_700_000_000_000_000, None]},
        events=412,
        erased=1,
        withheld=2,
        size=90_311,
        root=bytes(range(32)),
        manifest=_SHA,
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
