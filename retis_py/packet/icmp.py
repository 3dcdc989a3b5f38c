"""ICMP and ICMPv6 (RFC 792, RFC 4443)."""

from retis_py.packet.layer import TRUNCATED


def icmp(data: bytes, pos: int, end: int, out: list[str]) -> None:
    """Read type and code, which both versions have in the same place."""
    if end - pos < 4:
        out.append(TRUNCATED)
        return
    out.append(f" type {data[pos]} code {data[pos + 1]}")
