"""``alphapulse run ROLE…``: roles in this process, against servers that are already there."""

from typing import Annotated

import typer


def run(
    roles: Annotated[list[str], typer.Argument(help="Roles to run together in this process.")],
    host: Annotated[str | None, typer.Option(help="Address that the API listens on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port that the API listens on.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run roles until SIGINT or SIGTERM. Needs ALPHAPULSE_DATABASE_URL and ALPHAPULSE_NATS_URL."""
    import asyncio

    from alphapulse.cli.console import complain
    from alphapulse.domain.ports import StoreUnavailable
    from alphapulse.processes.logs import log_to_stderr
    from alphapulse.processes.run import RoleEnded, run_until_signalled
    from alphapulse.processes.wiring import ROLES, check_kept
    from alphapulse.settings import load

    if unknown := [role for role in roles if role not in ROLES]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(ROLES)}")
    settings = load(host=host, port=port, log_level=log_level)
    log_to_stderr(settings)
    if "seal" in roles:
        try:
            asyncio.run(check_kept(settings))
        except StoreUnavailable as away:  # roles wait for it; the one that seals looks again
            complain(settings.redact(f"what is sealed is not yet compared with what was kept: {away}"))
    try:
        run_until_signalled({name: ROLES[name] for name in dict.fromkeys(roles)}, settings)
    except* RoleEnded as ended:
        complain(str(ended.exceptions[0]))
        raise typer.Exit(1) from None
    except* Exception as failed:  # each was logged where it happened
        complain("; ".join(settings.redact(f"{type(e).__name__}: {e}") for e in failed.exceptions))
        raise typer.Exit(1) from None
