"""Compiling ahead: every kernel once, and what cannot be compiled is named."""

import pytest

from alphapulse.domain.analysis.registry import everything, find
from alphapulse.processes.compiling import CannotCompile, compile_all, compile_one, kernel_names


def test_every_kernel_is_compiled_by_the_name_of_one_indicator() -> None:
    names = kernel_names()
    assert {find(name).kernel for name in names} == {known.kernel for known in everything().values()}
    assert len({find(name).kernel for name in names}) == len(names)


def test_a_kernel_that_cannot_be_compiled_is_named() -> None:
    with pytest.raises(CannotCompile, match="nothing: BadParameter: no indicator is called 'nothing'"):
        compile_one("nothing")


@pytest.mark.parametrize("workers", [0, 65])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=f"{workers} workers: 1 to 64 are possible"):
        compile_all(workers)
