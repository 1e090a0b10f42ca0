"""What CI runs of the fuzzer: every input ever kept, and some new ones a target, the same each time.

``make fuzz`` runs the long form, guided by coverage; see docs/reliability.md.
"""

from random import Random
from time import process_time

import pytest

from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Finding, Judge, Target
from tests.fuzz.targets import MODULES, target

MAX_CORPUS_BYTES = 200_000
NEW_INPUTS = {"bundles": 30, "files": 200, "tables": 200, "documents": 100, "settings": 200, "notes": 300}


@pytest.fixture(scope="module")
def judges() -> dict[str, Judge]:
    return {}


def judge_of(judges: dict[str, Judge], name: str) -> Judge:
    if name not in judges:
        judges[name] = Judge(target(name))
        judges[name].warm_up()
    return judges[name]


@pytest.mark.parametrize("name", MODULES)
def test_what_was_once_found_is_not_found_again(judges: dict[str, Judge], name: str) -> None:
    judge = judge_of(judges, name)
    for data in judge.target.inputs():
        judge.run(data)


@pytest.mark.parametrize("name", MODULES)
def test_mutated_inputs_end_as_documented(judges: dict[str, Judge], name: str) -> None:
    judge = judge_of(judges, name)
    pool = judge.target.inputs()
    mutator = Mutator(Random(1), judge.target.words, judge.target.max_bytes)
    ends = {judge.run(mutator.mutated(pool, pool)) for _ in range(NEW_INPUTS.get(name, 1_000))}
    assert len(ends) > 3, f"mutations do not get anywhere: {ends}"


def test_the_corpus_stays_small_and_belongs_to_targets() -> None:
    folders = list(target("events").corpus.parent.iterdir())
    assert {folder.name for folder in folders} <= set(MODULES)
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < MAX_CORPUS_BYTES


def test_the_same_seed_mutates_alike() -> None:
    made = [
        [mutator.mutated([b"one", b"two"], [b"three"]) for _ in range(200)]
        for mutator in (Mutator(Random(5), [b"word"], 50) for _ in range(2))
    ]
    assert made[0] == made[1]
    assert max(map(len, made[0])) <= 50


def planted(check: object) -> Judge:
    judge = Judge(Target(name="planted", check=check, seeds=list, words=[]))  # type: ignore[arg-type]
    judge.warm_up()
    return judge


def test_an_exception_that_nobody_documented_is_a_finding_with_its_place() -> None:
    with pytest.raises(Finding, match=r"ZeroDivisionError test_fuzz\.py:\d+"):
        planted(lambda data: str(1 // len(data))).run(b"")


def test_too_much_time_of_a_core_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.MAX_CPU_S", 0.02)

    def slow(data: bytes) -> str:
        begun = process_time()
        while process_time() - begun < 0.05:
            pass
        return ""

    with pytest.raises(Finding, match="slow"):
        planted(slow).run(b"")


def test_memory_over_the_bound_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.MAX_GROWTH_KB", 20_000)
    judge = planted(lambda data: str(len(bytearray(len(data) * (60 << 20)))))
    judge.run(b"")
    with pytest.raises(Finding, match="memory"):
        judge.run(b"xxxx")
