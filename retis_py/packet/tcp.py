"""TCP and its options (RFC 9293)."""

from collections.abc import Callable
from struct import Struct

from retis_py.packet.layer import TRUNCATED

_HEADER = Struct("!4xIIHH").unpack_from
_U16 = Struct("!H").unpack_from
_U32 = Struct("!I").unpack_from
_PAIR = Struct("!II").unpack_from

#: By the lower nine bits: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE (RFC 9768).
_FLAGS = tuple(
    "".join(letter for bit, letter in enumerate("FSRP.UEWe") if flags >> bit & 1)
    for flags in range(512)
)


def tcp(data: bytes, pos: int, end: int, length: int, out: list[str]) -> None:
    """Read the header; ``length`` is that of the segment as IP states it, header included."""
    if end - pos < 20:
        out.append(TRUNCATED)
        return
    sequence, acknowledged, bits, window = _HEADER(data, pos)
    header = bits >> 12 << 2
    upto = f":{(sequence + length - header) & 0xFFFFFFFF}" if length > header else ""
    ack = f" ack {acknowledged}" if bits & 0x10 else ""
    options = _options(data, pos + 20, min(pos + header, end)) if header > 20 else ""
    out.append(f" flags [{_FLAGS[bits & 0x1FF]}] seq {sequence}{upto}{ack} win {window}{options}")


def _options(data: bytes, pos: int, end: int) -> str:
    if end - pos == 12 and data.startswith(b"\1\1\x08\x0a", pos):
        # What Linux sends in every segment of an established connection: read in one go.
        value, echo = _PAIR(data, pos + 4)
        return f" [nop,nop,TS val {value} ecr {echo}]"
    options = []
    while pos < end:
        kind = data[pos]
        if kind < 2:  # the only two without a length
            options.append("nop" if kind else "eol")
            pos += 1
            continue
        length = data[pos + 1] if pos + 1 < end else 0
        after = pos + max(length, 2)
        body = data[pos + 2 : min(after, end)]
        read = _READ.get(kind)
        options.append(read(body, length) if read else _NAMES.get(kind, "?"))
        pos = after
    return f" [{','.join(options)}]"


def _mss(body: bytes, _length: int) -> str:
    return f"mss {_U16(body)[0]}" if len(body) >= 2 else "mss"


def _wscale(body: bytes, _length: int) -> str:
    return f"wscale {body[0]}" if body else "wscale"


def _sack(body: bytes, length: int) -> str:
    """Count the blocks by the stated length, and show those that are there."""
    size = max(length - 2, 0)
    if size % 8:
        return "sack invalid"
    blocks = (_PAIR(body, at) for at in range(0, len(body) - 7, 8))
    return f"sack {size // 8} {''.join(f'{{{left}:{right}}}' for left, right in blocks)}"


def _timestamps(body: bytes, _length: int) -> str:
    if len(body) < 8:
        return "TS"
    value, echo = _PAIR(body)
    return f"TS val {value} ecr {echo}"


def _number(name: str) -> Callable[[bytes, int], str]:
    def read(body: bytes, _length: int) -> str:
        return f"{name} {_U32(body)[0]}" if len(body) >= 4 else name

    return read


def _fast_open(body: bytes, length: int) -> str:
    """Show the cookie (RFC 7413) with ?? for each byte that is not there."""
    size = max(length - 2, 0)
    if not size:
        return "tfo cookiereq"
    shown = "".join(f"0x{byte:02x}" for byte in body)
    return f"tfo cookie {shown}{'??' * (size - len(body))}"


_READ = {
    2: _mss,
    3: _wscale,
    5: _sack,
    6: _number("echo"),
    7: _number("echoreply"),
    8: _timestamps,
    11: _number("cc"),
    12: _number("ccnew"),
    13: _number("ccecho"),
    34: _fast_open,
}
_NAMES = {
    4: "sackOK",
    19: "md5",
    20: "scps",
    28: "uto",
    29: "tcp-ao",
    30: "mptcp",
    254: "exp",
}
