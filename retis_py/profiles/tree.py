"""What is in a profile file, as plain nodes, remembered between starts.

Loading the YAML library takes longer than all else that is done with a profile, so that what a
file's bytes came to is kept in the user's cache, by their digest. The cache never stands in the
way: whatever is wrong with it, the file is parsed.
"""

import logging
from typing import Union

import msgspec
from msgspec import Struct

from retis_py.cache_folder import CacheFolder, digest, seal, unseal

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20

MAX_ENTRIES = 64
MAX_ENTRY = 256 << 10
"""Files remembered, and the bytes of one at most."""

_MAGIC = b"retis-py profile 1\n"
_ANCHOR = b"&"


class Node(Struct, frozen=True, array_like=True):
    """A value and the line (from 1) that it starts on."""

    value: Union[str, list["Node"], dict[str, "Node"], None]  # noqa: UP007 (names itself)
    line: int

    def kind(self) -> str:
        """Return what a person calls this kind of value."""
        if self.value is None:
            return "nothing"
        return {str: "a text", list: "a list", dict: "a mapping"}[type(self.value)]


class YamlTreeError(ValueError):
    """The text is no YAML, or YAML beyond what is read here; ``line`` is 0 where unknown."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_documents(data: bytes) -> list[Node]:
    """Return the documents in ``data``, empty ones left out.

    Raises ``YamlTreeError``.
    """
    try:
        folder = CacheFolder("profiles")
    except OSError as error:
        log.debug("cache of profiles: there is none: %s", error)
        return _parse(data)
    with folder:
        name = digest(data).hex()
        documents = _recall(folder, name)
        if documents is None:
            documents = _parse(data)
            # Where an alias stands, all that it names would be written out again.
            if _ANCHOR not in data:
                _remember(folder, name, documents)
    return documents


def _parse(data: bytes) -> list[Node]:
    from retis_py.profiles.yaml_tree import parse_documents  # noqa: PLC0415 (see above)

    return parse_documents(data)


def _recall(folder: CacheFolder, name: str) -> list[Node] | None:
    try:
        content = unseal(_MAGIC, folder.read(name, MAX_ENTRY))
        return msgspec.msgpack.decode(content, type=list[Node])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        log.debug("cache of profiles: %s is not used: %s", name, error)
        return None


def _remember(folder: CacheFolder, name: str, documents: list[Node]) -> None:
    data = seal(_MAGIC, msgspec.msgpack.encode(documents))
    if len(data) > MAX_ENTRY:
        return
    try:
        folder.write(name, data)
        folder.prune(MAX_ENTRIES, MAX_ENTRIES * MAX_ENTRY)
    except OSError as error:
        log.debug("cache of profiles: cannot write: %s", error)
