"""Texts that are made once for bytes that come up again."""

from collections.abc import Callable

LIMIT = 2 << 20
"""About how much memory the texts of one memo may take (bytes); beyond it all are forgotten."""

_ENTRY = 128  # bytes: what a dictionary and its two objects take beside their content


class Memo(dict[bytes, bytes]):
    """JSON text by the bytes of a record that it is made of; ``make`` makes what is not known."""

    __slots__ = ("_held", "_make")

    def __init__(self, make: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._make = make
        self._held = 0

    def __missing__(self, raw: bytes) -> bytes:
        text = self._make(raw)
        self.keep(raw, text)
        return text

    def keep(self, raw: bytes, text: bytes) -> None:
        """Know a text from now on."""
        size = len(raw) + len(text) + _ENTRY
        if self._held + size > LIMIT:
            self.clear()
            self._held = 0
        self._held += size
        self[raw] = text
