"""A voter as one small class: what the decorator registers, its numbers, how its features are called."""

from collections.abc import Sequence

import numpy as np
import pytest

from alphapulse.domain.analysis.features import BadFeatureSet
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import BadVoter, View, kind_of
from tests.domain.decision.voter_worlds import row_view


@voter("test.calm", "Buys what is calm", least=Number(0.25, 0, 1), bars=Number(3, 1, 9, whole=True))
class Calm(Rule):
    """Sure of a rise by its number, where the RSI is known."""

    version = 7
    inputs = (seen("rsi(14)"),)

    def prepare(self) -> None:
        if self.numbers["least"] > 0.5 and self.numbers["bars"] > 5:
            raise BadVoter(f"least {self.numbers['least']:g} does not go with {self.numbers['bars']:g} bars")

    def signed(self, view: View) -> Floats:
        return view["rsi_14"] * 0 + self.numbers["least"] / (view["rsi_14"] > 0)

    def words(self, view: View, row: int) -> Sequence[str]:
        return [f"RSI {view['rsi_14'][row]:g}"]


def test_a_class_becomes_a_kind_with_its_defaults_and_version():
    kind = kind_of("test.calm")
    assert (kind.title, kind.version, kind.parameters) == ("Buys what is calm", 7, {"least": 0.25, "bars": 3})
    vote = kind.made({"least": 1}).vote(row_view(rsi_14=20.0))
    assert (vote.direction[0], vote.score[0], vote.version) == (1, 1.0, 7)
    assert vote.reasons(0) == ["RSI 20"]


def test_who_abstains_gives_no_reasons_and_a_division_by_nothing_is_quiet():
    vote = kind_of("test.calm").made({}).vote(row_view(rsi_14=np.nan))
    assert vote.direction[0] == 0
    assert not vote.reasons(0)
    assert kind_of("test.calm").made({}).vote(row_view(rsi_14=0.0)).score[0] == 1  # more than sure is sure


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"least": 1.5}, "test.calm: least 1.5 needs a number from 0 to 1"),
        ({"bars": 2.5}, "test.calm: bars 2.5 needs a whole number from 1 to 9"),
        ({"least": 0.6, "bars": 6}, "least 0.6 does not go with 6 bars"),
        ({"most": 1}, "test.calm has no most: it takes least, bars"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_their_values(numbers, words):
    with pytest.raises(BadVoter, match=words):
        kind_of("test.calm").made(numbers)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(BadVoter, match=r"two kinds of voters are called test\.calm"):
        voter("test.calm", "Another")(Calm)
    # What failed to register is called what it was.
    assert kind_of("test.calm").title == "Buys what is calm"


def test_features_are_called_after_what_they_show():
    assert seen("adx(14).plus_di").name == "adx_14.plus_di"
    assert seen("rsi(14)").output == "rsi"
    later = seen("adx(14).adx", timeframe=60, lag=2)
    assert (later.name, later.timeframe, later.lag) == ("adx_14.adx.60m.lag2", 60, 2)
    with pytest.raises(BadFeatureSet, match="no indicator is called 'nonsense'"):
        seen("nonsense(3)")
    # Of several outputs the first is meant, unless one is named.
    assert seen("adx(14)").output == "adx"
