"""``alphapulse audit verify``: what ``verify.py`` in a bundle does, with progress; and that script itself."""

import sys
from pathlib import Path
from typing import Annotated

import typer

_SHOW_BYTES = 5_000_000  # of a smaller file, nobody waits for progress


def verify(
    bundle: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A bundle, or the proof of one event.")
    ],
    key: Annotated[
        str | None, typer.Option(help="The log's key, or a file with it: not from the bundle.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A checkpoint that you hold: the log must continue it."
        ),
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="The key of a witness that must have cosigned; may repeat.")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(help="SHA-256 of a time-stamping authority's certificate, or hash of a Bitcoin block."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify that what a bundle holds was sealed in the log, and is whole and unchanged.

    Exit code 0: VALID, 1: INVALID, 3: VALID BUT INCOMPLETE, 2: wrongly called. Needs neither a database nor
    the network. alphapulse audit verify audit.tar.gz --key log.vkey --since last.checkpoint
    """
    from alphapulse.adapters.verifier.findings import EXIT_CODES
    from alphapulse.adapters.verifier.main import WronglyCalled, asked_of, verify_file
    from alphapulse.adapters.verifier.report import report_json, report_text
    from alphapulse.cli.progress import file_progress

    try:
        asked = asked_of(key, None if since is None else str(since), witness or (), trust or ())
    except WronglyCalled as error:
        raise typer.BadParameter(str(error)) from None
    size = bundle.stat().st_size
    show = size > _SHOW_BYTES and sys.stderr.isatty() and not as_json
    with file_progress(bundle.name, show=show) as tell:
        found = verify_file(str(bundle), asked, lambda done: tell(f"{done / 1e6:,.0f} MB", done / size))
    sys.stdout.write(report_json(found) if as_json else report_text(found))
    raise typer.Exit(EXIT_CODES[found.verdict])


def script() -> None:
    """Print verify.py, which needs nothing but Python: for people who are to trust no bundle's own copy."""
    from alphapulse.adapters.verifier.joining import joined

    sys.stdout.write(joined())
