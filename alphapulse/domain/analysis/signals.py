"""What signals of analysis have in common: their outputs, and their reasons in words.

A signal of analysis is a small rule over bars, no advice to trade: 1 says that the rule speaks for a rise,
-1 for a fall, 0 that it is not met. Its strength runs from 0 to 1 (how clearly it is met) and is 0 where
the signal is. Each kernel stands in ``indicators/signals_*.py``, with its reasons below it.
"""

from collections.abc import Callable, Mapping

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.registry import Output, Spec, everything

Named = Mapping[str, float]
Words = Callable[[Named, Named], list[str]]

SIGNAL = Output("signal", "flag", low=-1, high=1)
STRENGTH = Output("strength", "ratio", low=0, high=1)

_words: dict[str, Words] = {}


@piece
def share(part: float, whole: float) -> float:
    """``part`` of ``whole``, from 0 to at most 1; of nothing, anything is all."""
    if not part > 0.0:
        return 0.0
    return part / whole if part < whole else 1.0


def explains(name: str) -> Callable[[Words], Words]:
    """The function says in words why signal ``name`` is not 0, from its outputs and parameters by name."""

    def register(words: Words) -> Words:
        _words[name] = words
        return words

    return register


def reasons(name: str, outputs: Named, params: Named | None = None) -> list[str]:
    """Why signal ``name`` says what it says in ``outputs`` (by output name): its rule, with the values.

    Parameters that are not given have their defaults. None for a signal of 0, or not there (NaN).

    Raises:
        BadParameter: no such indicator or parameter.
        KeyError: it is no signal, or an output is missing.
    """
    spec = Spec.of(name, params)
    given = dict(zip((p.name for p in spec.known.parameters), spec.params, strict=True))
    words = _words[name]
    return words(outputs, given) if outputs["signal"] in (-1, 1) else []


def signals() -> tuple[str, ...]:
    """The names of all signals of analysis, in alphabetical order."""
    return tuple(name for name, known in everything().items() if known.kind == "signal")
