"""``alphapulse migrate``: bring the database's schema up to date."""

from typing import Annotated

import typer


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if it is behind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the schema at ALPHAPULSE_DATABASE_URL up to date. Safe to repeat, also by two at once."""
    from alphapulse.adapters import database
    from alphapulse.cli.console import say
    from alphapulse.settings import load

    url = load().database()
    before, newest = database.revisions(url)
    if before != newest and not check:
        database.migrate(url)
    now, _ = database.revisions(url)
    facts = {"before": before, "now": now, "newest": newest}
    if now == newest:
        say(
            f"the schema is at {now}" + ("" if before == now else f" (was at {before or 'nothing'})"),
            facts,
            as_json,
        )
    else:
        say(
            f"the schema is at {now or 'nothing'}, this code needs {newest}: alphapulse migrate",
            facts,
            as_json,
        )
        raise typer.Exit(1)
