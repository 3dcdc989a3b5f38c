"""How the running kernel was configured."""

import gzip
import logging
import re
import zlib
from pathlib import Path

from retis_py.errors import UsageError

log = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"

# The largest distribution configurations are 300 KB. More is no configuration.
_MAX_BYTES = 16 << 20

_ANY_OPTION = re.compile(rb"^(?:# )?CONFIG_\w+(?:=| is not set$)", re.MULTILINE)


class KernelConfig:
    """A kernel's configuration, as text, searched for the few options asked for.

    ``source`` is the file it came from, None where none was found: every option is unknown then.
    """

    def __init__(self, text: bytes | None, source: Path | None = None) -> None:
        self._text = text
        self.source = source

    @staticmethod
    def find(path: Path | None, release: str, root: Path = Path("/")) -> "KernelConfig":
        """Read the configuration from ``path``, or from where the kernel's is usually found.

        Without ``path``: /proc/config.gz, /boot/config-RELEASE, then /lib/modules/RELEASE; the
        first that can be read. Raises :class:`UsageError` where a file named by ``path`` cannot
        be read or is no kernel configuration.
        """
        if path is not None:
            try:
                return KernelConfig(_read(path), path)
            except (OSError, ValueError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(
                    f"cannot use {str(path)!r} as kernel configuration: {reason}; "
                    f"name the running kernel's, such as /boot/config-{release}"
                ) from error
        for candidate in (
            root / "proc/config.gz",
            root / f"boot/config-{release}",
            root / f"lib/modules/{release}/config",
            root / f"usr/lib/modules/{release}/config",
            root / f"lib/modules/{release}/build/.config",
        ):
            try:
                return KernelConfig(_read(candidate), candidate)
            except (OSError, ValueError, EOFError, zlib.error) as error:
                log.debug("no kernel configuration in %s: %s", candidate, error)
        return KernelConfig(None)

    def value(self, option: str) -> str | None:
        """Return ``y``, ``m``, ``n``, or the option's text or number; None if nothing is known.

        An option that the configuration does not mention is ``n``: the kernel's build leaves out
        those whose dependencies are not met. Text is given without its quotes.
        """
        if self._text is None:
            return None
        found = re.search(rb"^%b=(.*)$" % re.escape(option.encode()), self._text, re.MULTILINE)
        if found is None:
            return "n"
        value = found[1].decode("utf-8", "replace").strip()
        if len(value) >= 2 and value[0] == value[-1] == '"':
            return re.sub(r"\\(.)", r"\1", value[1:-1])
        return value

    def is_enabled(self, option: str) -> bool | None:
        """Return whether the option is built in or a module; None if nothing is known."""
        value = self.value(option)
        return None if value is None else value in {"y", "m"}


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if text.startswith(_GZIP_MAGIC):
        with gzip.open(path) as unpacked:
            text = unpacked.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError("too large")
    if not _ANY_OPTION.search(text):
        raise ValueError("no CONFIG_ line in it")
    return text
