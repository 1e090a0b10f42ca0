"""The last part of the demo: what the strategy was worth, with intervals, and whom it owes that to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from alphapulse.processes.demo import Stack

FIGURES = (
    *("win_rate", "expectancy_bps", "profit_factor", "max_drawdown", "sharpe", "expected_max_sharpe"),
    *("deflated_sharpe", "brier_skill"),
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
    from alphapulse.cli.performance import interval, shown

    console.print(f"   {found.trades:,} {found.of} of {found.days:,} days, with 95 % intervals:")
    for figure in (each for each in found.figures if each.name in FIGURES):
        if figure.value is None:
            console.print(f"     {figure.title}: {figure.note}")
        else:
            around = f" ({bounds})" if (bounds := interval(figure)) else ""
            console.print(f"     {figure.title}: {shown(figure)}{around}")


def _attribution(console: "Console", of: str, found: Any) -> None:
    parts = found.at_most(5)
    owed = ", ".join(f"{each.key.replace('_', ' ')} {each.contribution:+.4f}" for each in parts)
    console.print(f"   owed to (Shapley values of the votes, of {of}): {owed}; together {found.total:+.4f}")
