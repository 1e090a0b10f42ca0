"""``alphapulse features join``: labels and what was known of the features at each."""

from pathlib import Path
from typing import Annotated

import typer


def join(
    export: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What `features export` wrote.")
    ],
    labels: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Parquet or CSV with instrument and time.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The Parquet file to write.")],
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "1h",
    max_age_s: Annotated[
        float | None, typer.Option(min=0, help="Leave out features that were known for longer than this.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Join labels with features by what was known at each label's time. There is no other way to join.

    A label gets the latest row that was known at its time or before, by the venue's clock; a column
    `position` in the labels bounds it by the log as well.

    Example:

      alphapulse features join rows.parquet labels.csv -o training.parquet --timeframe 5m
    """
    from alphapulse.cli.console import say
    from alphapulse.domain.market.timeframes import TIMEFRAMES
    from alphapulse.processes.joining import join_labels

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    age = None if max_age_s is None else round(max_age_s * 1e9)
    done = join_labels(export, labels, output, timeframe=TIMEFRAMES[timeframe], max_age_ns=age)
    facts = {"labels": done.labels, "found": done.found, "features": done.features, "file": str(output)}
    say(
        f"{output}: {done.labels:,} labels, {done.found:,} with {done.features} features known by then",
        facts,
        as_json,
    )
