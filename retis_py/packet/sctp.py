"""SCTP and its chunks (RFC 9260)."""

from struct import Struct

from retis_py.packet.layer import TRUNCATED

_U32 = Struct("!I").unpack_from
_CHUNK = Struct("!BBH").unpack_from
_DATA = Struct("!4xIHHI").unpack_from
_INIT = Struct("!4xIIHHI").unpack_from
_SACK = Struct("!4xIIHH").unpack_from

_NAMES = {
    1: "INIT",
    2: "INIT_ACK",
    4: "HEARTBEAT",
    5: "HEARTBEAT_ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN_ACK",
    9: "ERROR",
    10: "COOKIE_ECHO",
    11: "COOKIE_ACK",
    12: "ECNE",
    13: "CWR",
    14: "SHUTDOWN_COMPLETE",
}
#: By the flags U(nordered), B(eginning), E(nd).
_DATA_FLAGS = ("", " (E)", " (B)", " (BE)", " (U)", " (UE)", " (UB)", " (UBE)")


def sctp(data: bytes, pos: int, end: int, length: int, out: list[str]) -> None:
    """Read the common header and the chunks; ``length`` is that of the packet as IP states it."""
    if end - pos < 12:
        out.append(TRUNCATED)
        return
    (tag,) = _U32(data, pos + 4)
    out.append(f" vtag 0x{tag:x}")
    pos += 12
    length -= 12
    while length > 0:
        chunk = None
        if end - pos >= 4:
            kind, flags, size = _CHUNK(data, pos)
            size = (size + 3) & ~3
            after = pos + max(size, 4)
            chunk = _chunk(data, pos, min(after, end), kind, flags)
        if chunk is None:
            out.append(TRUNCATED)
            return
        out.append(chunk)
        pos = after
        length -= size


def _chunk(data: bytes, pos: int, end: int, kind: int, flags: int) -> str | None:
    """Return the chunk's text, None where its fixed part is not all there."""
    fixed = _FIXED.get(kind)
    if fixed is None:
        return f" [{_NAMES.get(kind) or f'UNKNOWN:{kind}'}]"
    size, read = fixed
    return read(data, pos, flags) if end - pos >= size else None


def _data(data: bytes, pos: int, flags: int) -> str:
    tsn, stream, sequence, payload = _DATA(data, pos)
    return (
        f" [DATA{_DATA_FLAGS[flags & 7]} TSN {tsn} SID {stream} SSEQ {sequence} PPID 0x{payload:x}]"
    )


def _init(data: bytes, pos: int, _flags: int) -> str:
    tag, window, outbound, inbound, tsn = _INIT(data, pos)
    return (
        f" [{_NAMES[data[pos]]} init_tag 0x{tag:x} rwnd {window} OS {outbound} MIS {inbound}"
        f" init_TSN {tsn}]"
    )


def _sack(data: bytes, pos: int, _flags: int) -> str:
    acknowledged, window, gaps, duplicates = _SACK(data, pos)
    return f" [SACK cum_ack {acknowledged} a_rwnd {window} #gap_acks {gaps} #dup_tsns {duplicates}]"


#: By the chunk's type: the size of its fixed part in bytes, header included, and its reader.
_FIXED = {0: (16, _data), 1: (20, _init), 2: (20, _init), 3: (16, _sack)}
