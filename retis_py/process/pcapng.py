"""Packets of events as a pcapng file (draft-ietf-opsawg-pcapng), with the events beside them.

Of a little-endian section::

    Section Header Block
    Custom Block                  JSON schema of an event
    Interface Description Block   one for each probe, before its first packet
    Enhanced Packet Block         packet, time, event as text (comment) and as JSON (custom option)
"""

from collections.abc import Callable
from struct import Struct

from retis_py import __version__
from retis_py.events.escape import escape
from retis_py.events.event import Event, encode
from retis_py.events.schema import event_schema_json
from retis_py.events.sections.packet import Packet
from retis_py.events.text import TextFormat, event_text
from retis_py.process.event_probe import EventProbe

# Private Enterprise Number of custom blocks and options, as retis has it.
RETIS_PEN = 70000
# More bytes of a packet than this are cut off.
SNAPLEN = 65535

_SECTION_HEADER = 0x0A0D0D0A
_INTERFACE_DESCRIPTION = 1
_ENHANCED_PACKET = 6
_CUSTOM = 0x0BAD  # one that tools may copy

_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_UNKNOWN_SECTION_LENGTH = -1
_LINKTYPE_ETHERNET = 1
_NANOSECONDS = 9  # if_tsresol: units of 10^-9 s

_OPT_COMMENT = 1
_SHB_USERAPPL = 4
_IF_NAME = 2
_IF_DESCRIPTION = 3
_IF_TSRESOL = 9
_OPT_CUSTOM_UTF8 = 2988  # one that tools may copy
_END_OF_OPTIONS = bytes(4)
_MAX_OPTION = 0xFFFF

_MAX_TIME = 2**64 - 1
_CUT = "…".encode()
_PADDING = (b"", bytes(3), bytes(2), bytes(1))
_WRITE_SIZE = 128 << 10

_block_head = Struct("<II").pack  # type, length
_length = Struct("<I").pack
_section_head = Struct("<IHHq").pack  # magic, major and minor version, length of the section
_interface_head = Struct("<HHI").pack  # link type, reserved, snaplen
# Type, length, interface, time (upper, lower half), captured and original length.
_packet_head = Struct("<IIIIIII").pack
_option_head = Struct("<HH").pack  # code, length
_custom_head = Struct("<HHI").pack  # code, length, enterprise number


class PcapngWriter:
    """Writes packets to ``write``, which takes bytes, in pieces of some 100 KiB.

    Nothing is written before the first packet or interface; ``finish()`` writes what is held back.
    With ``annotate`` false the file holds packets only: neither schema nor text nor JSON.

    ``packets`` counts those written, ``data_size`` their captured bytes. What the format could not
    hold is counted: ``clamped`` times before 1970 or beyond 2554, ``cut`` comments, ``unannotated``
    packets whose event as JSON is longer than an option may be and is left out.
    """

    packets: int
    data_size: int
    clamped: int
    cut: int
    unannotated: int

    def __init__(self, write: Callable[[bytes], object], *, annotate: bool = True) -> None:
        self._write = write
        self._annotate = annotate
        self._format = TextFormat()
        self._blocks = [_section_header()]
        if annotate:
            self._blocks.append(_schema_block())
        self._size = 0
        self._interfaces: dict[EventProbe | None, int] = {}
        self.packets = self.data_size = self.clamped = self.cut = self.unannotated = 0

    def interface(self, probe: EventProbe | None) -> int:
        """Return the number of a probe's interface, from 0; describe it if it is new."""
        number = self._interfaces.get(probe)
        if number is None:
            number = self._interfaces[probe] = len(self._interfaces)
            self._blocks.append(_interface_description(probe))
        return number

    def packet(self, event: Event, packet: Packet, probe: EventProbe | None, time: int) -> None:
        """Write ``packet``, that of ``event``, at ``time`` in nanoseconds since 1970 (UTC)."""
        interface = self.interface(probe)
        if not 0 <= time <= _MAX_TIME:
            time = min(max(time, 0), _MAX_TIME)
            self.clamped += 1
        data = packet.raw[:SNAPLEN]
        captured = len(data)
        options, options_size = self._options(event, packet) if self._annotate else ((), 0)
        length = 32 + captured + (-captured & 3) + options_size
        head = _packet_head(
            _ENHANCED_PACKET,
            length,
            interface,
            time >> 32,
            time & 0xFFFF_FFFF,
            captured,
            max(packet.len, len(packet.raw)),  # a file may say less than it holds
        )
        self._blocks += (head, data, _PADDING[captured & 3], *options, _length(length))
        self.packets += 1
        self.data_size += captured
        self._size += length
        if self._size >= _WRITE_SIZE:
            self.finish()

    def finish(self) -> None:
        """Write what is held back. More may follow."""
        self._write(b"".join(self._blocks))
        self._blocks.clear()
        self._size = 0

    def _options(self, event: Event, packet: Packet) -> tuple[tuple[bytes, ...], int]:
        """Return the options of a packet, in parts, and their length.

        They are the event as text, and as JSON without the packet.
        """
        text = event_text(event, self._format).encode()
        if len(text) > _MAX_OPTION:
            text = _cut(text)
            self.cut += 1
        # Cheaper than a copy of the event.
        event.packet = None
        try:
            json = encode(event)
        finally:
            event.packet = packet
        text_size, json_size = len(text), len(json)
        size = 4 + text_size + (-text_size & 3) + 4
        comment = (_option_head(_OPT_COMMENT, text_size), text, _PADDING[text_size & 3])
        if json_size + 4 > _MAX_OPTION:
            self.unannotated += 1
            return (*comment, _END_OF_OPTIONS), size
        head = _custom_head(_OPT_CUSTOM_UTF8, json_size + 4, RETIS_PEN)
        size += 8 + json_size + (-json_size & 3)
        return (*comment, head, json, _PADDING[json_size & 3], _END_OF_OPTIONS), size


def _section_header() -> bytes:
    body = _section_head(_BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_SECTION_LENGTH)
    return _block(
        _SECTION_HEADER, body + _option(_SHB_USERAPPL, f"retis-py {__version__}".encode())
    )


def _schema_block() -> bytes:
    # The data's length is not told apart from its padding, so that is white space of JSON.
    schema = event_schema_json()
    return _block(_CUSTOM, _length(RETIS_PEN) + schema + b" " * (-len(schema) & 3), end=b"")


def _interface_description(probe: EventProbe | None) -> bytes:
    name = "unknown" if probe is None else escape(str(probe))
    options = (
        _option(_IF_NAME, _cut(name.encode())),
        _option(_IF_DESCRIPTION, _cut(f"Fake interface for probe {name}".encode())),
        _option(_IF_TSRESOL, bytes([_NANOSECONDS])),
    )
    head = _interface_head(_LINKTYPE_ETHERNET, 0, SNAPLEN)
    return _block(_INTERFACE_DESCRIPTION, head + b"".join(options))


def _block(kind: int, body: bytes, end: bytes = _END_OF_OPTIONS) -> bytes:
    length = 12 + len(body) + len(end)
    return b"".join((_block_head(kind, length), body, end, _length(length)))


def _option(code: int, value: bytes) -> bytes:
    return b"".join((_option_head(code, len(value)), value, _PADDING[len(value) & 3]))


def _cut(text: bytes) -> bytes:
    """Return UTF-8 that fits into an option, ended by ``…`` where something was cut off."""
    if len(text) <= _MAX_OPTION:
        return text
    return text[: _MAX_OPTION - len(_CUT)].decode(errors="ignore").encode() + _CUT
