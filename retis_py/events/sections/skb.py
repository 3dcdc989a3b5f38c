"""Section ``skb``: metadata of the socket buffer (struct sk_buff, include/linux/skbuff.h)."""

from typing import TYPE_CHECKING

from retis_py.events.sections.base import U8, U16, U32, Data, Section
from retis_py.events.wire import Wire

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class VlanAccel(Data):
    """VLAN tag held beside the packet by hardware acceleration (vlan_proto, vlan_tci)."""

    proto: U16  # ethertype, host order
    pcp: U8  # priority
    dei: bool
    vid: U16

    def text(self) -> str:
        """``vlan_accel (ethertype NAME (0xPROTO) vlan VID p PCP[ DEI])``."""
        from retis_py.packet.ethernet import ethertype_text  # noqa: PLC0415 (as in packet.py)

        dei = " DEI" if self.dei else ""
        return f"vlan_accel ({ethertype_text(self.proto)} vlan {self.vid} p {self.pcp}{dei})"


class SkbMeta(Data):
    """Lengths, checksum state, hash, priority."""

    len: U32  # bytes, all of the packet from sk_buff.data on
    data_len: U32  # bytes, the part in pages and fragments
    hash: U32  # flow hash, 0: none yet
    ip_summed: U8  # CHECKSUM_NONE, _UNNECESSARY, _COMPLETE, _PARTIAL
    csum: U32  # checksum; with CHECKSUM_PARTIAL csum_start and csum_offset
    csum_level: U8
    priority: U32

    def text(self) -> str:
        """``csum ... [hash 0x..] len N [data_len N] priority N``."""
        match self.ip_summed:
            case 0:
                text = "csum none"
            case 1:
                text = f"csum unnecessary (level {self.csum_level})"
            case 2:
                text = f"csum complete (0x{self.csum:x})"
            case 3:
                # A C union: csum_start is the lower half on a little-endian machine.
                text = f"csum partial (start {self.csum & 0xFFFF} off {self.csum >> 16})"
            case _:
                text = f"csum unknown ({self.ip_summed})"
        if self.hash:
            text += f" hash 0x{self.hash:x}"
        text += f" len {self.len}"
        if self.data_len:
            text += f" data_len {self.data_len}"
        return f"{text} priority {self.priority}"


class SkbDataRef(Data):
    """Who else refers to the skb and its data."""

    nohdr: bool  # the payload only is referenced
    cloned: bool
    fclone: U8  # SKB_FCLONE_*
    users: U8  # sk_buff.users, cut to 8 bits
    dataref: U8  # skb_shared_info.dataref, cut to 8 bits

    def text(self) -> str:
        """``[nohdr] [cloned] [fclone N] users N dataref N``."""
        flags = ("nohdr " if self.nohdr else "") + ("cloned " if self.cloned else "")
        fclone = f"fclone {self.fclone} " if self.fclone else ""
        return f"{flags}{fclone}users {self.users} dataref {self.dataref}"


class SkbGso(Data):
    """Segmentation offload (struct skb_shared_info)."""

    flags: U8  # SKBFL_*
    frags: U8  # nr_frags
    size: U32  # gso_size, bytes
    segs: U32  # gso_segs
    type: U32  # SKB_GSO_*

    def text(self) -> str:
        """``gso [type 0x.. [flags 0x..] [frags N] [segs N] size N]``."""
        flags = f" flags 0x{self.flags:x}" if self.flags else ""
        frags = f" frags {self.frags}" if self.frags else ""
        segs = f" segs {self.segs}" if self.segs else ""
        return f"gso [type 0x{self.type:x}{flags}{frags}{segs} size {self.size}]"


class Skb(Section):
    """What was asked for of the metadata."""

    vlan_accel: VlanAccel | None = None
    meta: SkbMeta | None = None
    data_ref: SkbDataRef | None = None
    gso: SkbGso | None = None

    def text(self, fmt: "TextFormat") -> str:
        """``[vlan_accel (...)] skb [META DATAREF] gso [...]``, empty with nothing to show."""
        parts = []
        if self.vlan_accel is not None and fmt.link_layer:
            parts.append(self.vlan_accel.text())
        meta, data_ref = self.meta, self.data_ref
        if meta is not None and data_ref is not None:
            parts.append(f"skb [{meta.text()} {data_ref.text()}]")
        elif meta is not None:
            parts.append(f"skb [{meta.text()}]")
        elif data_ref is not None:
            parts.append(f"skb [{data_ref.text()}]")
        if self.gso is not None:
            parts.append(self.gso.text())
        return " ".join(parts)


VLAN_ACCEL_WIRE = Wire("skb_vlan_accel", "u16 proto; u16 tci")
META_WIRE = Wire(
    "skb_meta",
    "u32 len; u32 data_len; u32 hash; u8 ip_summed; u32 csum; u8 csum_level; u32 priority",
)
DATAREF_WIRE = Wire("skb_dataref", "u8 nohdr; u8 cloned; u8 fclone; u8 users; u8 dataref")
GSO_WIRE = Wire("skb_gso", "u8 flags; u8 frags; u32 size; u32 segs; u32 type")


def vlan_accel_from_wire(proto: int, tci: int) -> VlanAccel:
    """Build it from a tag's TCI (IEEE 802.1Q): 3 bits priority, 1 DEI, 12 VLAN id."""
    return VlanAccel(proto, tci >> 13, bool(tci >> 12 & 1), tci & 0xFFF)


def data_ref_from_wire(
    nohdr: int, cloned: int, fclone: int, users: int, dataref: int
) -> SkbDataRef:
    """Build it from its part."""
    return SkbDataRef(bool(nohdr), bool(cloned), fclone, users, dataref)
