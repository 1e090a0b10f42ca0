"""Models in ONNX, run by onnxruntime: one thread, float32 in and out, the contract checked when opened."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import onnxruntime

from alphapulse.domain.analysis.fields import Floats

MAX_BATCH = 4_096  # rows in one run: bounds what it allocates
MAX_BYTES = 20_000_000

_PLAIN = 1e76  # a sum of squares below it: every value is known, and float32 holds it


class BadOnnx(ValueError):
    """These bytes are no model that takes one float32 matrix of the features and gives one number a row."""


class OnnxScorer:
    """A Scorer over ONNX ``artifact``: float32[n, k] in, float32[n, 1] out, both by whatever name.

    A value that float32 cannot hold counts as missing, like NaN. One scorer may serve several threads.
    ``alone``: run the rows one by one, where an operator (a matrix product) may sum in another order for one
    row than for many.

    Raises:
        BadOnnx.
    """

    def __init__(self, artifact: bytes, *, name: str, features: Sequence[str], alone: bool = False) -> None:
        self.name, self.features = name, tuple(features)
        self._most = 1 if alone else MAX_BATCH
        self.digest = sha256(artifact).hexdigest()
        if len(artifact) > MAX_BYTES:
            raise BadOnnx(f"{name}: {len(artifact)} bytes, at most {MAX_BYTES}")
        self._session = _session(artifact, name)
        self._input, self._output = _contract(self._session, name, len(self.features))

    def score(self, rows: Floats) -> Floats:
        if rows.ndim != 2 or rows.shape[1] != len(self.features):
            raise ValueError(
                f"{self.name}: rows of shape {rows.shape}, features are {', '.join(self.features)}"
            )
        with np.errstate(over="ignore"):
            if len(rows) == 1 and rows[0].dot(rows[0]) < _PLAIN:
                return self._run(rows.astype(np.float32))  # spares a live row half its time
            narrow = np.ascontiguousarray(rows, dtype=np.float32)
        known = np.isfinite(narrow).all(axis=1)
        if known.all():
            return self._run(narrow)
        scores: Floats = np.full(len(rows), np.nan)
        scores[known] = self._run(narrow[known])
        return scores

    def _run(self, rows: np.ndarray[Any, np.dtype[np.float32]]) -> Floats:
        if len(rows) == 1:
            only: Floats = self._session.run([self._output], {self._input: rows})[0][0].astype(np.float64)
            return only
        into = np.empty(len(rows))
        for begin in range(0, len(rows), self._most):
            batch = rows[begin : begin + self._most]
            into[begin : begin + self._most] = self._session.run([self._output], {self._input: batch})[0][
                :, 0
            ]
        return into


def _session(artifact: bytes, name: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong comes as an exception
    try:
        return onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own hierarchy begins at RuntimeError, or not even there
        raise BadOnnx(f"{name}: {len(artifact)} bytes that onnxruntime does not take: {error}") from error


def _contract(session: Any, name: str, features: int) -> tuple[str, str]:
    """The names of the one input and the one output."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = [(v.type, v.shape) for v in (*inputs, *outputs)]
    if not (
        len(inputs) == len(outputs) == 1
        and all(type_ == "tensor(float)" and len(shape) == 2 for type_, shape in found)
        and inputs[0].shape[1] == features
        and outputs[0].shape[1] == 1
        and not any(isinstance(shape[0], int) for _, shape in found)
    ):
        raise BadOnnx(f"{name}: has {found}, wanted float [n, {features}] in and float [n, 1] out")
    return inputs[0].name, outputs[0].name
