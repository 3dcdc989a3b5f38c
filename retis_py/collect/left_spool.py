"""A spool that was left by a collection which ended early, read as the event file it would be."""

import logging
from collections.abc import Iterator
from pathlib import Path

from retis_py.collect.describe import boot_id, described_parts
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.known_probes import tell
from retis_py.collect.merge import DamagedChunkError, Merge
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.probe_stack import StackWatcher
from retis_py.collect.spool_format import Description
from retis_py.collect.spool_reader import OpenSpool
from retis_py.errors import EventFileError, MissingPrerequisite
from retis_py.events.event import encode
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType

log = logging.getLogger(__name__)

_AT_ONCE = 2000  # records
_MOST_RINGS = 4096  # perf buffers: one for each CPU


class LeftSpool:
    """A stream of lines: the startup event, then the events that were not decoded.

    Says, as a warning, what it is, and what of it is damaged and left out. Raises EventFileError
    where nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self._spool = OpenSpool(path)
        try:
            self.name = self._spool.name
            self._damaged = 0
            first, *others = self._spool.descriptions()
            self._decoder = self._make_decoder(first)
            self._watcher = self._make_watcher(first)
            for description in others:
                self._symbols.add(description.symbols)
                for probe in tell(self._decoder, description):
                    self._watcher.hide(probe.symbol)
            self._merge = Merge(first.rings, self._spool.control.decoded)
            log.warning(
                "%s is the spool of a collection that ended early: %s event(s), those that were not"
                " decoded yet",
                self.name,
                f"{self._spool.unread_records():,}",
            )
        except BaseException:
            self._spool.close()
            raise
        self._pieces = self._decode(bytes(first.startup))

    def read(self, size: int) -> bytes:  # noqa: ARG002 (whatever comes next)
        """Return the next lines, nothing at the end."""
        return next(self._pieces, b"")

    def fileno(self) -> int:
        """Return the spool's descriptor."""
        return self._spool.descriptor

    def close(self) -> None:
        """Close the spool; may be called again."""
        self._spool.close()

    def _make_decoder(self, first: Description) -> JsonDecoder:
        described = first.collectors
        if described is None or not 0 < first.rings <= _MOST_RINGS:
            raise EventFileError(f"{self.name} is damaged: it does not say what its events are")
        same_boot = first.boot_id == boot_id()
        types = None
        if same_boot:
            try:
                types = Types(Btf.vmlinux())
            except MissingPrerequisite as error:
                log.debug("%s", error)
        try:
            parts = described_parts(described, types)
            probes = [_probe(each.type, each.symbol, each.key) for each in first.probes]
        except ValueError as error:
            raise EventFileError(
                f"{self.name} cannot be read ({error}): use the retis that wrote it"
            ) from None
        self._symbols = OwnSymbols(Host().symbols.resolve if same_boot else hex)
        self._symbols.add(first.symbols)
        decoder = JsonDecoder(parts, probes, self._symbols.resolve)
        decoder.programs.update(first.programs)
        return decoder

    def _make_watcher(self, first: Description) -> StackWatcher:
        """Return who takes off stacks that nobody asked for."""
        self._hides = first.hidden is not None
        return StackWatcher(lambda _: None, (), first.hidden or (), show_all=not self._hides)

    def _decode(self, startup: bytes) -> Iterator[bytes]:
        yield startup + b"\n"
        for placed, content in self._spool.chunks():
            try:
                self._merge.add(placed.chunk, placed.offset, content, placed.end)
            except DamagedChunkError as error:
                log.debug("%s: chunk at byte %d: %s", self.name, placed.offset, error)
                self._damaged += placed.chunk.records or 1
            yield from self._in_order()
        self._merge.finish()
        yield from self._in_order()
        if self._spool.cut is not None:
            log.warning(
                "%s: what was behind byte %d is not there any more (the machine stopped?)",
                self.name,
                self._spool.cut,
            )
        for begin, end in self._spool.gaps:
            log.warning(
                "%s: bytes %d to %d are damaged, what they held is left out", self.name, begin, end
            )
        if self._damaged:
            log.warning("%s: %s event(s) are damaged and left out", self.name, self._damaged)

    def _in_order(self) -> Iterator[bytes]:
        while records := self._merge.take(_AT_ONCE):
            lines = b"".join(map(self._line, records))
            if lines:
                yield lines

    def _line(self, record: bytes) -> bytes:
        try:
            if not self._hides:
                return next(self._decoder.lines((record,)))
            event = self._decoder.decode(record)
            self._watcher.see(event)
            return encode(event) + b"\n"
        except Exception as error:
            log.debug("%s: a record is damaged: %s", self.name, error)
            self._damaged += 1
            return b""


def _probe(kind: str, symbol: str, key: int) -> Probe:
    """Raise ValueError where there is no such type."""
    address = 0 if kind == ProbeType.RAW_TRACEPOINT else key
    return Probe(ProbeType(kind), symbol, (), address=address)
