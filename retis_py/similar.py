"""Names that were perhaps meant, for the ends of error messages."""

from collections.abc import Iterable


def similar(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return those of the ``known`` names that are most like one that is not known."""
    import difflib  # noqa: PLC0415 (most starts make no mistake)

    return difflib.get_close_matches(name, [*known], n=count)
