"""What is known of funding and news as bytes, and back: the same state, to be carried on from a snapshot."""

from dataclasses import fields
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.market.fundamentals_state import FundingState, NewsState, Subject

_TYPES = {"<i8": np.int64, "<f8": np.float64}


def packed_funding(state: FundingState) -> bytes:
    return msgspec.msgpack.encode(_content(state))


def unpacked_funding(data: bytes) -> FundingState:
    return FundingState(**_arrays(msgspec.msgpack.decode(data)))


def packed_news(state: NewsState) -> bytes:
    """Subjects in the order in which they came: the first of them are followed."""
    subjects = [(name, _content(subject)) for name, subject in state.subjects.items()]
    return msgspec.msgpack.encode((state.capacity, state.max_subjects, subjects))


def unpacked_news(data: bytes) -> NewsState:
    capacity, max_subjects, subjects = msgspec.msgpack.decode(data)
    made = {name: Subject(**_tupled(_arrays(content))) for name, content in subjects}
    return NewsState(capacity=capacity, max_subjects=max_subjects, subjects=made)


def _content(state: FundingState | Subject) -> dict[str, Any]:
    """Arrays as their type and bytes, little-endian; whole numbers as they are."""
    found = {field.name: getattr(state, field.name) for field in fields(state)}
    return {name: _plain(value) if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _plain(values: Any) -> tuple[str, bytes]:
    kind = "<i8" if values.dtype == np.int64 else "<f8"
    return kind, values.astype(kind).tobytes()


def _arrays(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: np.frombuffer(value[1], dtype=value[0]).astype(_TYPES[value[0]])
        if isinstance(value, list) and isinstance(value[0], str)
        else value
        for name, value in content.items()
    }


def _tupled(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
