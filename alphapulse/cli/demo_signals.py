"""The part of the demo about decisions: what was signalled, why, and what became of it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from alphapulse.processes.demo import Stack

STRATEGY = "demo"
TIMEFRAME = "15m"
# Where the data is generated it holds an edge that can be found: bursts of one-sided trading, nearly each
# followed by a run of the price. Some weeks of it, so that there is something to learn from.
PLANTED = (
    *("--market-rate", "0.5", "--volatility", "3e-5", "--seed", "2"),
    *("--bursts-per-day", "12", "--edge", "0.97"),
)

_DECIDED = """query ($strategy: String!) {
    refused: decisions(strategy: $strategy, verdict: REFUSED, first: 200) { nodes { refusals } }
    candidates: outcomes(strategy: $strategy, signals: false, first: 1000) { nodes { isWin netBps } }
    signals: outcomes(strategy: $strategy, signals: true, first: 1000) { nodes { isWin netBps } }
    calibration(strategy: $strategy, candidates: true) {
        claims meanClaim winRate ece fitted { number method candidates }
    }
}"""


async def show_signals(console: "Console", stack: "Stack", *, planted: bool) -> None:
    """Wait until the strategy has decided on everything, then say what it did."""
    from alphapulse.processes.demo import until_decided, until_level

    await until_decided(stack, STRATEGY)
    await until_level(stack, lambda _: None)
    found = stack.query(_DECIDED, strategy=STRATEGY)
    signals = await stack.command("signals", "list", "--strategy", STRATEGY, "--last", "1000")
    _summary(console, found, signals)
    for facts in sorted(signals, key=lambda each: -each["confidence"])[:3]:
        _signal(console, facts)
    if signals:
        best = max(signals, key=lambda each: float(each["confidence"]))
        await _why(console, stack, best["number"])
    elif not planted:
        console.print(
            "   few or no signals on real data is the honest answer: 85 % is asked, and that it pays"
        )
    _calibration(console, found["calibration"])


def _summary(console: "Console", found: dict[str, Any], signals: list[Any]) -> None:
    candidates, closed = found["candidates"]["nodes"], found["signals"]["nodes"]
    why: dict[str, int] = {}
    for node in found["refused"]["nodes"]:
        for refusal in node["refusals"]:
            why[refusal] = why.get(refusal, 0) + 1
    reasons = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(why.items()))
    console.print(
        f"   strategy {STRATEGY} on {TIMEFRAME} bars: {len(signals)} signals; {len(candidates):,} refused "
        f"candidates were watched too (of the last 200: {reasons or 'none'})"
    )
    for name, nodes in (("signals", closed), ("refused candidates", candidates)):
        if nodes:
            won = sum(node["isWin"] for node in nodes)
            mean = sum(node["netBps"] for node in nodes) / len(nodes)
            console.print(
                f"   {len(nodes):,} {name} resolved: {won / len(nodes):.0%} reached the target first, "
                f"{mean:+.1f} bps each after fees and slippage"
            )


def _signal(console: "Console", facts: dict[str, Any]) -> None:
    from alphapulse.cli.signals import SIDES, when

    became = facts["close_reason"] or "open"
    net = "" if facts["net_bps"] is None else f" {facts['net_bps']:+.1f} bps"
    console.print(
        f"     {when(facts['time'])} signal {facts['number']}: {SIDES[facts['side']]} {facts['instrument']} "
        f"at {facts['entry']:,.8g}, stop {facts['stop']:,.8g}, target {facts['targets'][0]:,.8g}, "
        f"confidence {facts['confidence']:.3f}: {became}{net}"
    )


async def _why(console: "Console", stack: "Stack", number: int) -> None:
    (made,) = await stack.command("signals", "explain", STRATEGY, str(number))
    votes = sorted((vote for vote in made["votes"] if vote["weight"] > 0), key=lambda v: -v["weight"])
    console.print(f"   why signal {number}, in part (alphapulse signals explain {STRATEGY} {number}):")
    for vote in votes[:3]:
        reason = vote["reasons"][0] if vote["reasons"] else ""
        console.print(f"     {vote['voter'].replace('_', ' ')}, weight {vote['weight']:.2f}: {reason}")
    claim, gate = made["claim"], made["gate"]
    console.print(
        f"     consensus {made['consensus']:+.2f}; calibration {claim['calibration']} makes of it "
        f"{claim['confidence']:.3f}; to pay it takes {gate['needed']:.3f}"
    )


def _calibration(console: "Console", found: dict[str, Any]) -> None:
    fitted = found["fitted"]
    if not fitted:
        console.print("   too few candidates were resolved to claim anything: nothing was calibrated")
        return
    last = fitted[0]
    claimed = ""
    if found["claims"]:
        claimed = (
            f"; {found['claims']:,} claims of {found['meanClaim']:.3f} on average came true in "
            f"{found['winRate']:.3f} of the cases (calibration error {found['ece']:.3f})"
        )
    console.print(
        f"   calibrated {last['number']} times, last by {last['method']} on {last['candidates']:,} resolved "
        f"candidates{claimed}"
    )
