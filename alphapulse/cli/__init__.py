"""The command ``alphapulse``: names of the commands, and what becomes of their errors.

A command is a plain function in a module of this package, with its heavy imports inside; a line in
``COMMANDS`` makes it known. Exit codes: 0 done, 1 failed, 2 wrongly called, 3 done but some rows refused.
"""

import os
import sys

from alphapulse.cli.caches import provide_numba_cache
from alphapulse.cli.lazy import Branch, Leaf, group

COMMANDS: dict[str, Leaf | Branch] = {
    "demo": Leaf("demo", "demo", "Watch a million trades go through the whole stack."),
    "up": Leaf("up", "up", "Run everything here: PostgreSQL, NATS and all roles."),
    "run": Leaf("run", "run", "Run roles against servers that are already there."),
    "migrate": Leaf("migrate", "migrate", "Bring the database's schema up to date."),
    "doctor": Leaf("doctor", "doctor", "Check this installation and say what to do."),
    "import": Branch(
        "Bring files of trades, bars, funding rates or headlines into the log.",
        {
            "trades": Leaf("import_", "trades", "Import trades: CSV, Parquet, JSON."),
            "bars": Leaf("import_", "bars", "Import bars that a venue supplied."),
            "funding": Leaf("import_fundamentals", "funding", "Import funding rates of perpetuals."),
            "news": Leaf("import_fundamentals", "news", "Import headlines with subjects and sentiment."),
        },
    ),
    "generate": Leaf("generate", "generate", "Generate lifelike trades into the log or a file."),
    "candles": Leaf("candles", "candles", "Show the latest candles of an instrument."),
    "chart": Leaf("chart", "chart", "Draw bars with indicators, patterns, levels and regimes."),
    "regimes": Branch(
        "Which regime a market was in, by rules or fitted models.",
        {
            "fit": Leaf("regimes", "fit", "Fit a model of hidden regimes, walk-forward."),
            "show": Leaf("regimes", "show", "Show the regime of the latest bars."),
        },
    ),
    "anomalies": Branch(
        "Bars that stand out, by isolation forests.",
        {
            "fit": Leaf("anomalies", "fit", "Fit a forest on bars known by a moment."),
            "score": Leaf("anomalies", "score", "Show the most unusual of the last bars."),
        },
    ),
    "models": Branch(
        "Models that vote: train, bring along, list.",
        {
            "train-baseline": Leaf("models", "train_baseline", "Train boosted trees on the log, as ONNX."),
            "fit-logistic": Leaf("models", "fit_logistic", "Fit a logistic regression on the log."),
            "register": Leaf("models", "register", "Record an ONNX file of one's own."),
            "list": Leaf("models", "list_", "List the newest version of every model."),
            "show": Leaf("models", "show", "Show one: inputs, training, worth."),
        },
    ),
    "log": Leaf("log", "log", "Show where the log ends, who is behind it, and its events."),
    "projections": Branch(
        "How read models stand, and their rebuilds.",
        {
            "list": Leaf("projections", "list_", "List every read model and its generations."),
            "rebuild": Leaf("projections", "rebuild", "Build anew from the log, compare, swap."),
            "verify": Leaf("projections", "verify", "Compare the live rows with a rebuild."),
            "rollback": Leaf("projections", "rollback", "Undo the last swap."),
            "bisect": Leaf("projections", "bisect", "Find the event at which two versions part."),
            "digest": Leaf("projections", "digest", "Print the content hash of the live rows."),
        },
    ),
    "parked": Branch(
        "Events that a read model could not fold.",
        {
            "list": Leaf("parked", "list_", "List them."),
            "show": Leaf("parked", "show", "Show one in full."),
            "retry": Leaf("parked", "retry", "Fold them again."),
        },
    ),
    "features": Branch(
        "Feature sets and their rows.",
        {
            "define": Leaf("features", "define", "Define a set, or the default one."),
            "retire": Leaf("features", "retire", "Make no new rows of a version."),
            "list": Leaf("features", "list_", "List every version of every set."),
            "show": Leaf("features", "show", "Show what a set is made of."),
            "latest": Leaf("features", "latest", "Print the latest vectors."),
            "compute": Leaf("feature_files", "compute", "Compute rows from the log."),
            "export": Leaf("feature_files", "export", "Export rows to Parquet, reproducibly."),
            "join": Leaf("feature_join", "join", "Join labels with what was known at each."),
            "diff": Leaf("feature_files", "diff", "Compare two versions of a set."),
            "drift": Leaf("feature_checks", "drift", "Show how far features have moved."),
            "check": Leaf("feature_checks", "check", "Check the quality of live rows."),
        },
    ),
    "strategies": Branch(
        "Who votes, when a candidate is good enough, what may be risked.",
        {
            "define": Leaf("strategies", "define", "Define a strategy, or the default one."),
            "retire": Leaf("strategies", "retire", "Decide no more by a version."),
            "list": Leaf("strategies", "list_", "List every version of every strategy."),
            "show": Leaf("strategies", "show", "Print a version in full."),
        },
    ),
    "decide": Leaf("decide", "decide", "Decide over the log so far, or only show it (--dry-run)."),
    "backtest": Leaf("backtest", "backtest", "Decide over history or files; say what it was worth."),
    "trials": Leaf("trials", "trials", "List what was tried; deflate the best by it."),
    "signals": Branch(
        "Signals, why they were given, and what became of them.",
        {
            "list": Leaf("signals", "list_", "List signals, the newest first."),
            "show": Leaf("signals", "show", "Show one and what became of it."),
            "explain": Leaf("signals", "explain", "Explain one: votes, claim, gate."),
            "verify": Leaf("signals", "verify", "Derive an outcome again from the market's events."),
            "watch": Leaf("signals", "watch", "Print signals as they are issued and closed."),
        },
    ),
    "outcomes": Leaf("signals", "outcomes", "List what became of signals or candidates."),
    "calibration": Leaf("signals", "calibration", "Show how well claims were met."),
    "counterfactual": Leaf("counterfactual", "counterfactual", "What if the gate or a voter were another."),
    "parity": Leaf("parity", "parity", "Derive decisions again from the log, compare byte for byte."),
    "performance": Leaf("performance", "performance", "Show what trades were worth, with intervals."),
    "attribution": Leaf("performance", "attribution", "Show whom the result is owed to."),
    "risk": Leaf("signals", "risk", "Show what open signals may lose."),
    "audit": Branch(
        "Who did what and why, and proof of it for others.",
        {
            "trail": Leaf("audit_trail", "trail", "List who did what, the newest first."),
            "chain": Leaf("audit_trail", "chain", "Walk from an event or signal back to the market."),
            "key": Leaf("audit_proof", "key", "Print the log's public key, for publishing."),
            "checkpoint": Leaf("audit_proof", "checkpoint", "Print a signed checkpoint, to be kept."),
            "proof": Leaf("audit_proof", "proof", "Prove that an event is in the log."),
            "sweep": Leaf("audit_sweep", "sweep", "Compare all that is stored with what was sealed."),
            "export": Leaf("audit_export", "export", "Write what is sealed into one file, with proof."),
            "verify": Leaf("audit_verify", "verify", "Verify a bundle, or the proof of one event."),
            "script": Leaf("audit_verify", "script", "Print verify.py, the verifier for strangers."),
            "track-record": Leaf("audit_track", "track_record", "Was each signal committed in time?"),
            "anchors": Leaf("audit_anchors", "anchors", "List what others gave for our checkpoints."),
        },
    ),
    "evidence": Leaf("evidence", "evidence", "Write the evidence of a signal into one file."),
    "compile": Leaf("compile_", "compile_", "Compile the analysis ahead of its first use."),
    "bench": Leaf("bench", "bench", "Measure against the peers (in a checkout)."),
}

HELP = "Market data in, trading signals out, and proof afterwards of what was known when."


def main() -> None:
    """Run one command; errors that a person can act upon take one line on stderr and exit code 1."""
    if sys.argv[1:] == ["--version"]:
        from alphapulse import __version__

        sys.stdout.write(f"alphapulse {__version__}\n")
        return
    provide_numba_cache()
    try:
        group("alphapulse", HELP, COMMANDS)(prog_name="alphapulse")
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if not _is_for_people(error):
            raise
        sys.stderr.write(f"alphapulse: {_message(error)}\n")
        sys.exit(1)


def _is_for_people(error: Exception) -> bool:
    """Our own exceptions, and what the machine or a server refuses; a bug keeps its traceback."""
    origin = type(error).__module__.partition(".")[0]
    return origin == "alphapulse" or isinstance(error, OSError) or type(error).__name__ == "OperationalError"


def _message(error: Exception) -> str:
    from alphapulse.settings import redact_environment

    return redact_environment(str(error).strip() or type(error).__name__)
