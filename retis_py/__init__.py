"""Packet tracing for the Linux networking stack, in Python on BCC.

For programs that read event files: ``from retis_py import EventFile``. What is exported is loaded
when it is first used, since the commands start faster without.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retis_py.api import EventFile, EventReader, EventSeries, SeriesReader
    from retis_py.events.event import Event

__version__ = "0.1.0"

__all__ = ["Event", "EventFile", "EventReader", "EventSeries", "SeriesReader"]


def __getattr__(name: str) -> Any:
    """Load what is exported (PEP 562)."""
    if name not in __all__:
        message = f"module '{__name__}' has no attribute '{name}'"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 (only here)

    exported = getattr(import_module("retis_py.api"), name)
    globals()[name] = exported
    return exported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
