"""The last part of the demo: what the strategy was worth, with intervals, and whom it owes that to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from alphapulse.processes.demo import Stack

FIGURES = (
    *("win_rate", "expectancy_bps", "profit_factor", "max_drawdown", "sharpe", "deflated_sharpe"),
    "brier_skill",
)


async def show_performance(console: "Console", stack: "Stack", strategy: str) -> None:
    """Figures of the signals, or where there are none of the candidates; then the voters behind them."""
    import msgspec

    from alphapulse.cli.candles import sparkline
    from alphapulse.domain.performance.figures import Attribution, Performance

    for of in ("signals", "candidates"):
        (facts,) = await stack.command("performance", strategy, "--of", of)
        found = msgspec.convert(facts, Performance)
        if found.trades:
            break
    else:
        console.print("   nothing was resolved: there is nothing to measure")
        return
    _figures(console, found)
    values = [point.equity for point in found.curve]
    console.print(f"   equity {min(values):.4g} {sparkline(values, 60)} {max(values):.4g}")
    (facts,) = await stack.command("attribution", strategy, "--of", found.of, "--by", "voter")
    _attribution(console, found.of, msgspec.convert(facts, Attribution))


def _figures(console: "Console", found: Any) -> None:
    from rich.table import Table

    from alphapulse.cli.performance import interval, shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in (f"   {found.trades:,} {found.of}, {found.days:,} days", "value", "95 %", "sample"):
        table.add_column(heading, justify="left" if heading.startswith(" ") else "right")
    for figure in (each for each in found.figures if each.name in FIGURES):
        cells = shown(figure) or figure.note, interval(figure), f"{figure.sample:,}"
        table.add_row(f"   {figure.title}", *cells)
    console.print(table)


def _attribution(console: "Console", of: str, found: Any) -> None:
    parts = found.at_most(5)
    owed = ", ".join(f"{each.key.replace('_', ' ')} {each.contribution:+.4f}" for each in parts)
    console.print(f"   owed to (Shapley values of the votes, of {of}): {owed}; together {found.total:+.4f}")
