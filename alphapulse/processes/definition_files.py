"""What people define in files: TOML or JSON."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

MAX_FILE_BYTES = 1_000_000

T = TypeVar("T")


def read_definition(path: Path, build: Callable[[Mapping[str, Any]], T], refuse: type[ValueError]) -> T:
    """What ``build`` makes of the content of ``path``.

    Raises:
        ``refuse``: the file is too large, is neither TOML nor JSON, or ``build`` raised it. Holds the path.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise refuse(f"{path} has {len(data):,} bytes, a definition takes at most {MAX_FILE_BYTES:,}")
    try:
        return build(tomllib.loads(data.decode()) if path.suffix == ".toml" else json.loads(data))
    except ValueError as error:  # what build refuses is one
        raise refuse(f"{path}: {error}") from None
    except RecursionError:
        raise refuse(f"{path}: its lists or tables stand too deep in each other") from None
