"""What is made of one object is made once, and never taken for that of another."""

import pytest

from alphapulse.processes.once import Once


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


def test_the_same_object_is_looked_at_once_and_an_equal_one_again() -> None:
    calls = list[str]()

    def make(text: str) -> str:
        calls.append(text)
        return f"{text}!"

    once, a, b = Once(make, most=2), "".join(["a", "b"]), "".join(["a", "b"])
    assert [once(a), once(a), once(b), once(a)] == ["ab!"] * 4
    assert calls == ["ab", "ab"]


def test_only_so_many_are_remembered_and_the_oldest_go() -> None:
    calls = list[str]()

    def make(thing: Thing) -> str:
        calls.append(thing.name)
        return thing.name

    once, things = Once(make, most=2), [Thing(name) for name in "abc"]
    assert [once(thing) for thing in things] == ["a", "b", "c"]
    assert [once(things[2]), once(things[1]), once(things[0])] == ["c", "b", "a"]
    assert calls == ["a", "b", "c", "a"]


def test_objects_that_are_gone_are_not_mixed_up_with_new_ones_at_their_place() -> None:
    once = Once[Thing, str](lambda thing: thing.name, most=3)
    assert [once(Thing(str(n))) for n in range(1_000)] == [str(n) for n in range(1_000)]


def test_an_error_is_raised_again_each_time() -> None:
    once = Once[str, int](int)
    for _ in range(2):
        with pytest.raises(ValueError, match="'x'"):
            once("x")
