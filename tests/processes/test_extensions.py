"""Voters of other packages: the example is installed and votes; what cannot be loaded names its package."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from alphapulse.processes import extensions
from alphapulse.processes.extensions import CannotLoad, load_voters

EXAMPLE = Path(__file__).parents[2] / "examples" / "voter"
ROOT = Path(__file__).parents[2]

VOTES = """
import numpy as np
from alphapulse.domain.decision.votes import kind_of
from alphapulse.processes.extensions import load_voters
from tests.domain.decision.voter_worlds import market, row_view, view_of

(loaded,) = load_voters()
assert load_voters() == [loaded]
voter = kind_of(loaded.kind).made({"full": 2})
up = {"mom_1": 1.0, "mom_1.lag1": 0.5, "mom_1.lag2": 0.5, "atr_14": 2.0, "adx_14.adx.60m": 10.0}
vote = voter.vote(row_view(**up))
print(loaded.kind, "of", loaded.distribution, int(vote.direction[0]), float(vote.score[0]))
print(*vote.reasons(0), sep="; ")
whole = voter.vote(view_of([voter], market(1_500)))
print(sorted(set(whole.direction.tolist())))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as pip installs it, in a folder of its own; built from a copy, as building leaves files."""
    where = tmp_path_factory.mktemp("example")
    source, target = where / "source", where / "target"
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    how = ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run([*pip, *how], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(code: str, *paths: Path) -> str:
    """What ``code`` prints in a process of its own: what is registered there stays there."""
    path = ":".join(map(str, (*paths, ROOT)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_installed_found_and_votes(installed):
    said, reasons, directions = python(VOTES, installed).splitlines()
    assert said == "example.streak of alphapulse-streaks 1.0.0 -1 0.5"
    assert reasons.startswith("three bars went +0.5, +0.5, +1, ATR 2; the hour's ADX 10.0 is under 30")
    assert directions == "[-1, 0, 1]"


def package(where: Path, module: str, code: str, entry: str) -> list[importlib.metadata.Distribution]:
    """A distribution called after ``module``, with one entry point."""
    (where / f"{module}.py").write_text(dedent(code))
    info = where / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[alphapulse.voters]\n{entry}\n")
    return list(importlib.metadata.distributions(path=[str(where)]))


CLASS = """
    from alphapulse.domain.analysis.features import Feature
    from alphapulse.domain.decision.rules import Rule, voter

    @voter("{name}", "A title")
    class Mine(Rule):
        inputs = (Feature(name="x", rule="{rule}", output="{rule}"),)
        signed = words = lambda *_: None
"""


@pytest.mark.parametrize(
    ("module", "code", "entry", "words"),
    [
        ("ap_raises", "1 / 0", "a.b = ap_raises", "ZeroDivisionError: division by zero"),
        ("ap_lacks", "", "a.b = ap_lacks:Nobody", "AttributeError: .*Nobody"),
        ("ap_needs", "import no_such_thing", "a.b = ap_needs", "ModuleNotFoundError: .*no_such_thing"),
        ("ap_silent", "", "a.b = ap_silent", "BadVoter: registers no kind of voter called 'a.b'"),
        (
            "ap_takes",
            CLASS.format(name="technical.trend", rule="rsi"),
            "technical.trend = ap_takes:Mine",
            "BadVoter: two kinds of voters are called technical.trend",
        ),
        (
            "ap_claims",
            "",
            "technical.trend = ap_claims",
            r"BadVoter: alphapulse\.domain\.decision\.voters\.trend has a kind of voter called",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told_with_its_distribution(
    tmp_path, monkeypatch, module, code, entry, words
):
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotLoad, match=f"{module} 1.2 gives {entry.split(' ')[0]} = {module}.*: {words}"):
        load_voters(package(tmp_path, module, code, entry))


def test_a_voter_that_looks_at_an_indicator_that_is_not_there_is_told_with_it(tmp_path):
    package(tmp_path, "ap_blind", CLASS.format(name="test.blind", rule="no_such"), "test.blind = ap_blind")
    code = """
from alphapulse.processes.extensions import CannotLoad, load_voters
try:
    load_voters()
except CannotLoad as error:
    print(error)
"""
    assert (
        "ap_blind 1.2 gives test.blind = ap_blind: BadParameter: no indicator is called 'no_such'"
        in python(code, tmp_path)
    )


def test_all_that_is_broken_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package(tmp_path, "ap_first", "1 / 0", "a.b = ap_first")
    found = package(tmp_path, "ap_second", "", "c.d = ap_second")
    with pytest.raises(CannotLoad, match=r"ap_first 1\.2 gives .*; ap_second 1\.2 gives c\.d"):
        load_voters(found)


def test_more_voters_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(extensions, "MAX_VOTERS", 1)
    found = package(tmp_path, "ap_many", "", "a.b = ap_many\nc.d = ap_many")
    with pytest.raises(CannotLoad, match="2 voters are installed, at most 1 are loaded"):
        load_voters(found)


def test_other_entry_points_are_left_alone(tmp_path):
    (info := tmp_path / "other-1.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[console_scripts]\nother = nowhere:main\n")
    assert load_voters(importlib.metadata.distributions(path=[str(tmp_path)])) == []
