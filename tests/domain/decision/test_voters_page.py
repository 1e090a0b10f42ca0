"""docs/voters.md says what the code says."""

from pathlib import Path

from tests.domain.decision.voter_tables import PAGE, groups, rewritten
from tests.domain.decision.voter_worlds import all_of_ours

EXAMPLE = Path(__file__).parents[3] / "examples" / "voter"


def test_the_tables_are_those_of_the_registry():
    page = PAGE.read_text()
    assert rewritten(page) == page, "python -m tests.domain.decision.voter_tables writes them"
    assert set(groups(page)) == {kind.name.partition(".")[0] for kind in all_of_ours()}


def test_the_example_on_the_page_is_the_one_that_is_tested():
    page = PAGE.read_text()
    for name in ("pyproject.toml", "alphapulse_streaks.py"):
        assert (EXAMPLE / name).read_text() in page, f"{name} is not in {PAGE.name} as it is"
