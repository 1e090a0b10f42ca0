"""Which operators an ONNX file uses, read from its bytes: the package onnx is there for training only.

Format: onnx.proto (ModelProto.graph = 7, GraphProto.node = 1, NodeProto.op_type = 4 and domain = 7) in the
wire format of protocol buffers.
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _NODE, _OP_TYPE, _DOMAIN = 7, 1, 4, 7
_OURS = ("", "ai.onnx", "ai.onnx.ml")

# Each row by itself, in operations that IEEE 754 rounds in one way: what else is in a run cannot show.
ROW_BY_ROW = frozenset({"TreeEnsembleRegressor", "Identity", "Cast", "Add", "Sub", "Mul", "Div"})


class NotProtobuf(ValueError):
    """These bytes are no message."""


def operators(artifact: bytes) -> frozenset[str]:
    """Names of all operators of the main graph, with the domain where that is not ONNX's own: other.Name.

    Raises:
        NotProtobuf.
    """
    nodes = (node for graph in _fields(artifact, _GRAPH) for node in _fields(graph, _NODE))
    try:
        return frozenset(_name(node) for node in nodes)
    except UnicodeDecodeError as error:
        raise NotProtobuf(str(error)) from None


def _name(node: bytes) -> str:
    *_, name = ("", *(each.decode() for each in _fields(node, _OP_TYPE)))
    *_, domain = ("", *(each.decode() for each in _fields(node, _DOMAIN)))
    return name if domain in _OURS else f"{domain}.{name}"


def is_row_by_row(artifact: bytes) -> bool:
    """Whether a row's score is the same bytes whichever rows it is scored with."""
    found = operators(artifact)
    return bool(found) and found <= ROW_BY_ROW


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Every field ``wanted`` of ``message`` that is bytes, a text or a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise NotProtobuf(f"field {number} of {size} bytes at {at} of {len(message)}")
            if number == wanted:
                yield message[at : at + size]
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise NotProtobuf(f"field {number} of kind {kind} at {at} of {len(message)}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where the next thing begins."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise NotProtobuf(f"a number without an end at {at} of {len(message)}")
