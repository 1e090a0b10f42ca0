"""Versions of something that is defined and retired, never changed: feature sets, strategies."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Versions:
    """Digests of the versions 1, 2, 3 … and those that are retired."""

    digests: tuple[str, ...] = ()
    retired: frozenset[int] = frozenset()

    def in_use(self, digest: str) -> int | None:
        """The newest version of this content that is not retired."""
        for version in range(len(self.digests), 0, -1):
            if self.digests[version - 1] == digest and version not in self.retired:
                return version
        return None

    def has(self, version: int) -> bool:
        return 1 <= version <= len(self.digests)

    def defined(self, digest: str) -> "Versions":
        """After one more version."""
        return Versions((*self.digests, digest), self.retired)

    def without(self, version: int) -> "Versions":
        """After ``version`` was retired."""
        return Versions(self.digests, self.retired | {version})
