"""``python -m tests.fuzz [TARGET …] --runs N``: fuzz, add up, and exit with 1 where anything was found.

Guided by coverage where atheris is installed, else by the ways in which inputs end. What was found lies in
var/fuzz/TARGET/findings; copied to tests/fuzz/corpus/TARGET, it is replayed by every run of the tests.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.session import FOLDER, Diary, left_behind
from tests.fuzz.targets import MODULES

RESULTS = Path("tests/fuzz/results.json")
STILL_S = 120.0  # without a new input a session counts as hanging


def main() -> int:
    given = _parser().parse_args()
    guided = {"guided": True, "seeded": False}.get(
        given.engine, importlib.util.find_spec("atheris") is not None
    )
    found = 0
    for name in given.targets or MODULES:
        begun = time.monotonic()
        taken, cpu_s = _sit(name, given.runs, guided)
        total = _add(name, taken, cpu_s)
        findings = _findings(name)
        found += len(findings)
        rate = taken / (time.monotonic() - begun)
        _say(f"{name:10} {taken:10,} inputs, {rate:8,.0f}/s, {total:12,} in all, {len(findings)} findings")
        for each in findings:
            _say(f"           {each}")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _sit(name: str, runs: int, guided: bool) -> tuple[int, float]:
    """Sessions until ``runs`` inputs were taken; how many were, and seconds of a core."""
    taken, begun = 0, os.times()
    seed = _results().get(name, {}).get("inputs", 0)
    while taken < runs:
        done = _session(name, runs - taken, seed + taken, guided)
        if not done:
            break  # it does not even start
        taken += done
    ended = os.times()
    return taken, ended.children_user + ended.children_system - begun.children_user - begun.children_system


def _session(name: str, runs: int, seed: int, guided: bool) -> int:
    """How many inputs a process took; what it died of is a finding."""
    words = [name, str(runs), str(seed), "guided" if guided else "seeded"]
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    Diary(name).close()
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str((FOLDER / "numba").resolve()),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.session", *words],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
        code = _watched(process, name)
    taken, under_way = left_behind(name)
    if code and under_way:
        what = "hang" if code == -9 else f"died-{-code}"
        Diary(name).found(what, (folder / "log").read_text(errors="replace"), under_way)
        return taken + 1
    if code:
        _say((folder / "log").read_text(errors="replace")[-2_000:])
        return 0
    return taken + 1 if guided and under_way else runs


def _watched(process: "subprocess.Popen[bytes]", name: str) -> int:
    """Its exit code; it is killed when it stands still for too long."""
    last, since = left_behind(name)[0], time.monotonic()
    while True:
        try:
            return process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            taken = left_behind(name)[0]
            if taken != last:
                last, since = taken, time.monotonic()
            elif time.monotonic() - since > STILL_S:
                process.kill()


def _findings(name: str) -> list[str]:
    return sorted(path.name for path in (FOLDER / name / "findings").iterdir() if path.suffix != ".txt")


def _results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def _add(name: str, taken: int, cpu_s: float) -> int:
    results = _results()
    own = results.setdefault(name, {"inputs": 0, "cpu_s": 0})
    own["inputs"] += taken
    own["cpu_s"] = round(own["cpu_s"] + cpu_s, 1)
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    partial.replace(RESULTS)
    return int(own["inputs"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(MODULES))
    parser.add_argument("--runs", type=int, default=10_000, help="inputs for each target")
    parser.add_argument("--engine", choices=("auto", "guided", "seeded"), default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
