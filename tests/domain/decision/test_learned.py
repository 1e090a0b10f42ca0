"""The learned voter: what a model says, where it is silent, and what is refused with its values."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.voters import learned
from alphapulse.domain.decision.voters.learned import NotWired, register_learned
from alphapulse.domain.decision.voters.logistic import sigmoid, sigmoid_of
from alphapulse.domain.decision.votes import BadVoter, BadVoterModel, Vote, Voter, kind_of
from alphapulse.processes.learned_models import open_learned
from tests.domain.decision.learned_models import TIMEFRAME, dense, learned_model, trees
from tests.domain.decision.voter_worlds import row_view

KIND = kind_of("learned.onnx")


@pytest.fixture(autouse=True)
def wired() -> Iterator[None]:
    register_learned(open_learned)
    yield
    register_learned(open_learned)


def voter(**changes: Any) -> Voter:
    return KIND.made({}, learned_model(**changes))


def vote(rsi: float, plus: float = 10.0, *, of: Voter | None = None, timeframe: int = TIMEFRAME) -> Vote:
    return (of or voter()).vote(row_view(timeframe=timeframe, **{"l.rsi": rsi, "l.adx": plus}))


def test_the_score_is_twice_the_distance_of_the_probability_from_one_half() -> None:
    said = vote(30.0)
    p = 1 / (1 + np.exp(-0.85))  # 0.8 and 0.05 of the two trees
    assert said.direction.tolist() == [1]
    assert said.score[0] == pytest.approx(2 * p - 1, abs=1e-7)
    assert list(said.reasons(0)) == [
        f"probability of a rise {p:.4f}, where 0.5000 of the training rose",
        "from 2 features, the first: l.rsi 30, l.adx 10",
    ]
    assert vote(70.0, 30.0).direction.tolist() == [-1]


def test_a_model_may_give_probabilities_itself() -> None:
    of = voter(output="probability", artifact=dense())
    said = vote(30.0, of=of)
    probability = float(open_learned(learned_model(artifact=dense())).score(np.array([[30.0, 10.0]]))[0])
    assert said.score[0] * said.direction[0] == 2 * probability - 1


def test_near_one_half_there_is_no_vote() -> None:
    """The second tree alone: 0.06 or -0.04 log-odds, 0.015 or 0.01 from one half."""
    assert vote(50.0, 10.0).direction.tolist() == [0]
    assert vote(50.0, 10.0, of=voter(abstain=0.0)).direction.tolist() == [1]
    more = KIND.made({"least": 0.3}, learned_model())
    assert vote(30.0, of=more).direction.tolist() == [0], "the seat may ask for more than the model"


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 1e300])
def test_a_missing_feature_is_no_vote(missing: float) -> None:
    assert vote(missing).direction.tolist() == [0]
    assert vote(30.0, missing).direction.tolist() == [0]
    assert not vote(missing).reasons(0)


def test_it_is_silent_on_other_timeframes_and_on_what_the_training_knew() -> None:
    assert vote(30.0, timeframe=15).direction.tolist() == [0]
    known = row_view().known_time[0]
    trained = learned_model().trained
    for cutoff, side in ((known - 1, 1), (known, 0)):
        model = learned_model(trained=msgspec.structs.replace(trained, known_time=int(cutoff)))
        assert vote(30.0, of=KIND.made({}, model)).direction.tolist() == [side]


def test_a_probability_that_is_none_is_no_vote() -> None:
    """Log-odds taken for probabilities: 0.85 is one, -0.85 is not."""
    of = voter(output="probability")
    assert vote(30.0, of=of).score[0] == pytest.approx(0.7)
    assert vote(70.0, 30.0, of=of).direction.tolist() == [0]


INPUT = learned_model().recipe["inputs"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"artifact": trees(3)}, r"learned: has .*\[None, 3\].*, wanted float \[n, 2\] in"),
        ({"artifact": trees(2, 2)}, r"wanted float \[n, 2\] in and float \[n, 1\] out"),
        ({"artifact": b"no model"}, "learned: 8 bytes that onnxruntime does not take"),
        ({"artifact": b""}, "learned: 0 bytes"),
        ({"recipe": {}}, "learned does not say its set, set_version, set_digest, inputs: it has"),
        ({"inputs": []}, r"inputs \[\], but its features are \['l.rsi', 'l.adx'\]"),
        ({"inputs": "rsi"}, "learned: inputs: Expected `array`"),
        ({"inputs": INPUT[::-1]}, r"inputs \['l.adx', 'l.rsi'\], but its features are"),
        ({"inputs": [INPUT[0] | {"rule": "nonsense"}, INPUT[1]]}, "l.rsi: no indicator is called 'nonsense'"),
        ({"inputs": [INPUT[0] | {"output": "high"}, INPUT[1]]}, "l.rsi: rsi has no output 'high'"),
        (
            {"inputs": [INPUT[0] | {"code_version": 99}, INPUT[1]]},
            "code version 99 of rsi, this",
        ),
        ({"output": "score"}, "output 'score' is none of log_odds, probability"),
        ({"base_rate": float("nan")}, "base_rate nan is no number from 0 to 1"),
        ({"abstain": 0.6}, "abstain 0.6 is no number from 0 to 0.5"),
        ({"abstain": None}, "abstain None is no number"),
        ({"kind": "regime_hmm"}, "needs a model of kind onnx_votes, there is learned of kind regime_hmm"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_its_values(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadVoterModel, match=words):
        voter(**changes)


def test_a_model_that_scores_otherwise_here_is_refused() -> None:
    model = learned_model()
    receipt = {"tolerance": 1e-6, "rows": [[30.0, 10.0]], "scores": [0.85]}
    kept = msgspec.structs.replace(model, parameters=model.parameters | {"receipt": receipt})
    assert vote(30.0, of=KIND.made({}, kept)).direction.tolist() == [1]
    off = msgspec.structs.replace(
        model, parameters=model.parameters | {"receipt": receipt | {"scores": [0.86]}}
    )
    with pytest.raises(BadVoterModel, match=r"learned: 1 of 1 rows differ .* expected 0.86"):
        KIND.made({}, off)


def test_a_number_of_the_seat_that_is_out_of_range_is_not_the_models_fault() -> None:
    with pytest.raises(BadVoter, match=r"least 0\.6 needs a number from 0 to 0\.5") as refused:
        KIND.made({"least": 0.6}, learned_model())
    assert not isinstance(refused.value, BadVoterModel)


def test_who_forgot_to_say_what_opens_models_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the model: a seat must not fall silent for it."""
    monkeypatch.setattr(learned, "_openers", [])
    with pytest.raises(NotWired, match="learned: nothing here opens models"):
        voter()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_rows_alone_get_the_bytes_they_get_together(values: list[float]) -> None:
    for of in (voter(), voter(output="probability", artifact=dense())):
        rows = [row_view(**{"l.rsi": value, "l.adx": 100 - value}) for value in values]
        together = row_view(**{"l.rsi": 0.0, "l.adx": 0.0})
        many = with_rows(together, np.concatenate([row.values for row in rows]))
        all_ = of.vote(many)
        alone = [of.vote(row) for row in rows]
        assert all_.score.tobytes() == np.concatenate([each.score for each in alone]).tobytes()
        assert all_.direction.tobytes() == np.concatenate([each.direction for each in alone]).tobytes()


def with_rows(view: Any, values: np.ndarray) -> Any:
    """``view`` with as many rows as ``values`` has."""
    count = len(values)
    return type(view)(
        timeframe=view.timeframe,
        columns=view.columns,
        values=values,
        bars=np.repeat(view.bars, count, axis=0),
        context={name: np.repeat(column, count) for name, column in view.context.items()},
        known_time=np.repeat(view.known_time, count),
    )


@given(st.floats(-1e6, 1e6))
def test_the_sigmoid_of_one_number_has_the_bits_it_has_among_many(z: float) -> None:
    assert sigmoid_of(z) == sigmoid(np.array([z, 0.0]))[0]
