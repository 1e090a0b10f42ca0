"""What opens a fitted model for the voter ``learned.onnx``: onnxruntime, after its receipt was checked."""

import numpy as np

from alphapulse.adapters.forest_onnx import check_receipt
from alphapulse.adapters.onnx import OnnxScorer
from alphapulse.adapters.onnx_operators import NotProtobuf, is_row_by_row
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision.voters.learned import register_learned


def open_learned(model: FittedModel) -> OnnxScorer:
    """The scorer of ``model``: a row's score is the same bytes whichever rows it is scored with.

    Raises:
        BadOnnx: its artifact is no model of that width that gives one number a row.
        NotTheSame: it scores otherwise here than where it was trained.
    """
    scorer = scorer_of(model.artifact, model.name, model.features)
    if "receipt" in model.parameters:
        check_receipt(scorer, model.parameters["receipt"])
    return scorer


def scorer_of(artifact: bytes, name: str, features: tuple[str, ...]) -> OnnxScorer:
    """Raises BadOnnx."""
    scorer = OnnxScorer(artifact, name=name, features=features, alone=not _together(artifact))
    scorer.score(np.zeros((1, len(features))))  # the first run allocates
    return scorer


def _together(artifact: bytes) -> bool:
    try:
        return is_row_by_row(artifact)
    except NotProtobuf:  # what it is, onnxruntime says better
        return False


def wire() -> None:
    """Let voters open models. May be called again."""
    register_learned(open_learned)
