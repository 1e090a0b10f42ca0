"""How commands talk: sentences for people, one JSON object for programs."""

import sys
from typing import Any


def say(sentence: str, facts: dict[str, Any], as_json: bool) -> None:
    """Print ``sentence``, or ``facts`` when a program asks."""
    if as_json:
        say_json(facts)
    else:
        sys.stdout.write(f"{sentence}\n")
        sys.stdout.flush()


def say_json(facts: Any) -> None:
    """Print one JSON object on a line of its own, at once."""
    import orjson

    text = orjson.dumps(facts, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """Say on stderr what went wrong."""
    sys.stderr.write(f"alphapulse: {sentence}\n")
    sys.stderr.flush()
