"""An export that somebody asks a server for: what, how far it is, and what came of it."""

from dataclasses import dataclass

from alphapulse.domain.provenance.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportAsked:
    """``since`` is the receiver's earlier checkpoint, a signed note; ``actor`` is who asks."""

    selection: Selection
    tables: tuple[str, ...] = ()  # csv, parquet
    since: str | None = None
    actor: str = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTold:
    """``bytes`` are on disk; ``ratio``, from 0 to 1, is of the log that is to be read."""

    events: int
    bytes: int
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportMade:
    """A bundle that can be fetched by ``token`` until ``expires_at`` (ns since 1970 UTC)."""

    token: str
    expires_at: int
    root: bytes  # of the checkpoint in it, and its size
    size: int
    bytes: int
    events: int
    erased: int
    withheld: int
    manifest: str  # SHA-256, in hexadecimal
