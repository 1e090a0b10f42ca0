"""The cache of machine code: whatever goes into a function changes its fingerprint."""

import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import pytest
from numba.extending import intrinsic

from alphapulse.domain.analysis.machine_code import fingerprint

ROOT = Path(__file__).parents[3]


def module(text: str) -> dict[str, Any]:
    """What a module with this text holds."""
    names: dict[str, Any] = {}
    exec(compile(text, "<made up>", "exec"), names)
    return names


TEXT = """
WIDTH = 3
TABLE = (1.0, (2.0, 3.0))
def leaf(x): return x * 2.0
inner = leaf
def outer(x):
    text = [inner(x) + WIDTH for _ in range(2)]
    return text[0] + TABLE[0]
"""


def of(text: str) -> str:
    return fingerprint(cast("FunctionType", module(text)["outer"]))


def test_the_same_code_has_the_same_fingerprint() -> None:
    assert of(TEXT) == of(TEXT) == of(TEXT + "\nunused = 5\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * 2.0", "x * 2.5"),  # a constant of what it calls
        ("x * 2.0", "x / 2.0"),  # the code of what it calls
        ("WIDTH = 3", "WIDTH = 4"),
        ("(2.0, 3.0)", "(2.0, 4.0)"),
        ("range(2)", "range(3)"),  # its own
        ("+ TABLE[0]", "- TABLE[0]"),
    ],
)
def test_whatever_is_reached_changes_the_fingerprint(old: str, new: str) -> None:
    assert old in TEXT
    assert of(TEXT) != of(TEXT.replace(old, new))


def test_what_makes_code_of_its_own_changes_the_fingerprint() -> None:
    text = (
        "def outer(x): return made(x)\ndef made(typing, x):\n    def generate(builder): return builder.{}\n"
    )
    prints = set()
    for instruction in ("fadd", "fsub"):
        names = module(text.format(instruction) + "    return x(x), generate\n")
        names["made"] = intrinsic(names["made"])
        prints.add(fingerprint(names["outer"]))
    assert len(prints) == 2


CLOSING = """
import sys
import numpy as np
from alphapulse.domain.analysis.compiled import inner_piece, over_slots

@inner_piece
def newest(ring, row, count, slot, kind): return ring[row, slot]
@inner_piece
def oldest(ring, row, count, slot, kind): return ring[row - count, slot]
newest_of_each, oldest_of_each = over_slots(newest), over_slots(oldest)
@inner_piece
def find_newest(ring, into): newest_of_each(ring, 1, 1, 0, 3, into)
@inner_piece
def find_oldest(ring, into): oldest_of_each(ring, 1, 1, 0, 3, into)

def run(*names):
    for name in names:
        into = np.zeros(3)
        find = globals()[f"find_{name}"]
        find(np.arange(6.0).reshape(2, 3), into)
        print(into.tolist(), sum(find.stats.cache_hits.values()))

run(*sys.argv[1:])
"""


def test_what_closes_over_other_functions_is_told_apart_by_later_processes(tmp_path: Path) -> None:
    """Each is compiled by a process of its own, as the first thing there: then one process loads both."""
    program = tmp_path / "closing.py"
    program.write_text(CLOSING)
    place = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def ran(*names: str) -> list[str]:
        command = [sys.executable, str(program), *names]
        done = subprocess.run(command, env=place, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert ran("newest") == ["[3.0, 4.0, 5.0] 0"]
    assert ran("oldest") == ["[0.0, 1.0, 2.0] 0"]
    assert ran("newest", "oldest") == ["[3.0, 4.0, 5.0] 1", "[0.0, 1.0, 2.0] 1"]


def test_a_function_that_calls_itself_has_a_fingerprint() -> None:
    names = module("def outer(x): return outer(x - 1) if x > 0 else 0")
    assert fingerprint(names["outer"])


def test_code_that_was_compiled_before_another_file_changed_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache of numba alone would give 2 both times: the file of the caller is the same."""
    monkeypatch.syspath_prepend(str(tmp_path))
    caller = tmp_path / "a_caller.py"
    caller.write_text(
        "from alphapulse.domain.analysis.machine_code import compiled\n"
        "import a_callee\n"
        "double = a_callee.double\n"
        "@compiled\n"
        "def outer(x):\n"
        "    return further_down(x)\n"
        "@compiled\n"
        "def further_down(x):\n"
        "    return double(x)\n"
    )
    assert _fresh(tmp_path, "2.0 * x") == 2.0
    assert _fresh(tmp_path, "3.0 * x") == 3.0


def _fresh(folder: Path, expression: str) -> float:
    """What the caller gives for 1 in an interpreter that has just started."""
    callee = "from alphapulse.domain.analysis.machine_code import compiled\n@compiled\ndef double(x):\n"
    (folder / "a_callee.py").write_text(f"{callee}    return {expression}\n")
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); import a_caller; print(a_caller.outer(1.0))"
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)
