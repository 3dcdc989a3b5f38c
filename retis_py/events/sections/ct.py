"""Section ``ct``: connection tracking (struct nf_conn, include/net/netfilter/nf_conntrack.h)."""

from typing import TYPE_CHECKING

from msgspec import field

from retis_py.events.escape import escape
from retis_py.events.sections.base import U8, U16, U32, U64, Data, Section
from retis_py.events.sections.variant import Choice, Variant, class_name, variants

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class CtState(Choice):
    """The packet's relation to its connection (enum ip_conntrack_info)."""

    ESTABLISHED = "established"
    RELATED = "related"
    NEW = "new"
    REPLY = "reply"
    RELATED_REPLY = "related_reply"
    UNTRACKED = "untracked"


class CtZoneDir(Choice):
    """Directions that a zone applies to (nf_conntrack_zone.dir)."""

    ORIGINAL = "Original"
    REPLY = "Reply"
    DEFAULT = "Default"  # both
    NONE = "None"


class CtIpVersion(Choice):
    """Address family of a tuple."""

    V4 = "v4"
    V6 = "v6"


class CtIp(Data):
    """Addresses as text."""

    src: str
    dst: str
    version: CtIpVersion


class CtPorts(Data):
    """TCP or UDP ports."""

    sport: U16
    dport: U16


class CtIcmp(Data):
    """ICMP or ICMPv6."""

    code: U8
    type: U8
    id: U16


class CtSctp(Data):
    """SCTP ports and verification tag."""

    sport: U16
    dport: U16
    vtag: U32


class CtProto(Data):
    """Exactly one of these; none for a protocol that we do not know."""

    tcp: CtPorts | None = None
    udp: CtPorts | None = None
    icmp: CtIcmp | None = None
    sctp: CtSctp | None = None

    def __post_init__(self) -> None:
        given = [self.tcp, self.udp, self.icmp, self.sctp]
        if given.count(None) < len(given) - 1:
            raise ValueError("A conntrack tuple has one protocol")


_KINDS = variants(map(class_name, CtProto.__struct_fields__))


class CtTuple(Data):
    """One direction (struct nf_conntrack_tuple)."""

    ip: CtIp
    protocol: CtProto = field(name="proto")

    @property
    def proto(self) -> Variant | None:
        """The protocol's own fields by its name: ``proto.tcp.sport``.

        Other protocols are no attributes. None for a protocol that we do not know.
        """
        for name in CtProto.__struct_fields__:
            fields = getattr(self.protocol, name)
            if fields is not None:
                return _KINDS[class_name(name)](self.protocol.to_dict(), {name: fields})
        return None


class CtLabels(Data):
    """128 bits of labels (struct nf_conn_labels)."""

    hi: U64
    lo: U64


_ZONE_WORDS = {
    CtZoneDir.ORIGINAL: "orig-zone",
    CtZoneDir.REPLY: "reply-zone",
    CtZoneDir.DEFAULT: "zone",
}


class CtConnection(Section):
    """A connection, the packet's own or its parent."""

    zone_id: U16
    zone_dir: CtZoneDir
    orig: CtTuple
    reply: CtTuple
    ct_status: U64  # IPS_* bits (include/uapi/linux/netfilter/nf_conntrack_common.h)
    proto_state: str | None = None  # TCP and SCTP: "ESTABLISHED"
    mark: U32 | None = None
    labels: CtLabels | None = None

    __str__ = Data.__repr__  # the packet's own connection is shown as a section, see Ct

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``status 0x.. PROTO [(STATE)] orig [..] reply [..] ZONE [mark N] [labels 0x..]``."""
        text = f"status 0x{self.ct_status:x} {self._tuples_text()}"
        # The space stays without a zone, as retis has it.
        word = _ZONE_WORDS.get(self.zone_dir)
        if word is not None:
            text += f"{word} {self.zone_id}"
        if self.mark is not None:
            text += f" mark {self.mark}"
        if self.labels is not None:
            text += f" labels 0x{(self.labels.hi << 64) + self.labels.lo:x}"
        return text

    def _tuples_text(self) -> str:
        """``PROTO [(STATE)] orig [..] reply [..] ``, nothing if they have no protocol in common."""
        orig, reply = self.orig.protocol, self.reply.protocol
        if orig.tcp is not None and reply.tcp is not None:
            name, state, ends = "tcp", True, (_ports_text(orig.tcp), _ports_text(reply.tcp))
        elif orig.udp is not None and reply.udp is not None:
            name, state, ends = "udp", False, (_ports_text(orig.udp), _ports_text(reply.udp))
        elif orig.icmp is not None and reply.icmp is not None:
            name, state, ends = "icmp", False, (_icmp_text(orig.icmp), _icmp_text(reply.icmp))
        elif orig.sctp is not None and reply.sctp is not None:
            name, state, ends = "sctp", True, (_sctp_text(orig.sctp), _sctp_text(reply.sctp))
        else:
            return ""
        if state:
            name = f"{name} ({'UNKNOWN' if self.proto_state is None else escape(self.proto_state)})"
        return (
            f"{name} orig [{_addresses_text(self.orig.ip, *ends[0])}]"
            f" reply [{_addresses_text(self.reply.ip, *ends[1])}] "
        )


def _addresses_text(ip: CtIp, after_src: str, after_dst: str) -> str:
    return f"{escape(ip.src)}{after_src} > {escape(ip.dst)}{after_dst}"


def _ports_text(ports: CtPorts) -> tuple[str, str]:
    """Return what follows the source and the destination address."""
    return f".{ports.sport}", f".{ports.dport}"


def _icmp_text(icmp: CtIcmp) -> tuple[str, str]:
    return "", f" type {icmp.type} code {icmp.code} id {icmp.id}"


def _sctp_text(sctp: CtSctp) -> tuple[str, str]:
    return f".{sctp.sport}", f".{sctp.dport} vtag 0x{sctp.vtag:x}"


class Ct(CtConnection, kw_only=True):
    """The packet's state and connection."""

    state: CtState
    parent: CtConnection | None = None  # of an expected connection: its master

    __str__ = Section.__str__

    @property
    def base(self) -> CtConnection:
        """A copy of the connection alone."""
        names = CtConnection.__struct_fields__
        return CtConnection(**{name: getattr(self, name) for name in names})

    def text(self, fmt: "TextFormat") -> str:
        r"""``ct_state STATE CONNECTION``, then ``\ parent [CONNECTION]``."""
        text = f"ct_state {self.state.upper()} {CtConnection.text(self, fmt)}"
        if self.parent is not None:
            text += f"\n\\ parent [{self.parent.text(fmt)}]"
        return text
