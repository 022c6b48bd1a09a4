"""Why a stage is computed again, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.core.digests import digest_json

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Key:
    """Identity of a stage's result: a digest of named parts.

    The parts are kept beside the result, so that `changes` can say what differs.
    """

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Return the digest of all parts."""
        return digest_json(dict(self.parts))

    def changes(self, other: Mapping[str, str]) -> list[str]:
        """Return the names of the parts that differ from another key's.

        >>> Key({"code": "a", "section quality": "b"}).changes({"code": "a", "section quality": "c"})
        ['section quality']
        """
        names = sorted({*self.parts, *other})
        return [name for name in names if self.parts.get(name) != other.get(name)]


def make_key(**parts: Any) -> Key:
    """Make a key from named parts; what is not text counts by its JSON."""
    return Key({name: part if isinstance(part, str) else digest_json(part) for name, part in parts.items()})
