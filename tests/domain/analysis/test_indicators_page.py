"""The page on indicators says what the registry says."""

from tests.domain.analysis.indicator_tables import PAGE, kinds, rewritten


def test_every_table_of_the_page_is_what_the_registry_says() -> None:
    page = PAGE.read_text()
    wrong = [
        new for old, new in zip(page.splitlines(), rewritten(page).splitlines(), strict=False) if old != new
    ]
    assert rewritten(page) == page, f"python -m tests.domain.analysis.indicator_tables writes: {wrong[:3]}"


def test_the_page_has_a_table_for_each_kind_that_is_measured() -> None:
    assert kinds(PAGE.read_text()) == ["trend", "momentum", "volatility", "volume"]
