"""Types of a module openvswitch that is not loaded here, written with libbpf over this kernel's.

Members lie where Linux 6.12 has them, as far as hooks read them.
"""

import ctypes
from collections.abc import Sequence

from retis_py.kernel import libbpf
from retis_py.kernel.btf import Btf, Kind
from retis_py.probes.available import Types

_ACTIONS = """
UNSPEC OUTPUT USERSPACE SET PUSH_VLAN POP_VLAN SAMPLE RECIRC HASH PUSH_MPLS POP_MPLS SET_MASKED CT
TRUNC PUSH_ETH POP_ETH CT_CLEAR PUSH_NSH POP_NSH METER CLONE CHECK_PKT_LEN ADD_MPLS DEC_TTL
"""


class _Writer:
    """Types added one after another; each method returns the new one's id."""

    def __init__(self, base: Btf) -> None:
        self._lib = libbpf.library()
        new = self._lib.btf__new_empty_split
        new.restype, new.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self.handle = new(base._handle)
        self._base = base

    def _add(self, kind: str, *arguments: str | int) -> int:
        function = getattr(self._lib, f"btf__add_{kind}")
        function.restype = ctypes.c_int
        converted = [a.encode() if isinstance(a, str) else ctypes.c_uint32(a) for a in arguments]
        added: int = function(ctypes.c_void_p(self.handle), *converted)
        assert added >= 0, (kind, arguments, added)
        return added

    def known(self, name: str, kind: Kind) -> int:
        found = self._base.find(name, kind)
        assert found is not None, name
        return found

    def integer(self, size: int) -> int:
        names = {1: "unsigned char", 2: "short unsigned int", 4: "unsigned int"}
        return self.known(names[size], Kind.INT)

    def array(self, element: int, count: int) -> int:
        return self._add("array", self.integer(4), element, count)

    def pointer(self, target: int) -> int:
        return self._add("ptr", target)

    def struct(
        self, name: str, size: int, **members: tuple[int, int] | tuple[int, int, int]
    ) -> int:
        """Members by name: type, place in bits, and a bit-field's size."""
        added = self._add("struct", name, size)
        for member, (kind, offset, *bits) in members.items():
            self._add("field", member, kind, offset, *(bits or [0]))
        return added

    def enum(self, name: str, values: dict[str, int]) -> None:
        self._add("enum", name, 4)
        for value, number in values.items():
            function = self._lib.btf__add_enum_value
            handle = ctypes.c_void_p(self.handle)
            assert function(handle, value.encode(), ctypes.c_int64(number)) == 0

    def prototype(self, arguments: Sequence[tuple[str, int]]) -> int:
        added = self._add("func_proto", 0)
        for name, kind in arguments:
            self._add("func_param", name, kind)
        return added

    def function(self, name: str, *arguments: tuple[str, int]) -> None:
        self._add("func", name, 0, self.prototype(arguments))

    def tracepoint(self, name: str, *arguments: int) -> None:
        own_data = self.pointer(0)
        prototype = self.prototype([("", own_data), *(("", kind) for kind in arguments)])
        self._add("typedef", f"btf_trace_{name}", self.pointer(prototype))


def openvswitch(base: Btf, *, drop_action: bool = True, queue_function: bool = True) -> Btf:
    """A module's types; ``drop_action`` is there since Linux 6.8."""
    w = _Writer(base)
    u8, u16, u32 = map(w.integer, (1, 2, 4))
    address, port = w.array(u8, 16), u16
    upcall_info = w.pointer(w.struct("dp_upcall_info", 40, portid=(u32, 224), cmd=(u8, 256)))
    key = w.pointer(w.struct("sw_flow_key", 464, recirc_id=(u32, 336 * 8)))
    acts = w.pointer(w.struct("sw_flow_actions", 32))
    flow_id = w.struct("sw_flow_id", 24, ufid_len=(u32, 0), ufid=(w.array(u32, 4), 64))
    w.struct("sw_flow", 632, id=(flow_id, 4608), sf_acts=(acts, 4928))
    nat_range = w.struct(
        "nf_nat_range2",
        44,
        flags=(u32, 0),
        min_addr=(address, 32),
        max_addr=(address, 160),
        min_proto=(port, 288),
        max_proto=(port, 304),
    )
    zone = w.struct("nf_conntrack_zone", 4, id=(u16, 0))
    w.struct(
        "ovs_conntrack_info",
        160,
        zone=(zone, 64),
        commit=(u8, 192, 1),
        nat=(u8, 193, 3),
        force=(u8, 196, 1),
        family=(u16, 208),
        range=(nat_range, 896),
    )
    actions = [*_ACTIONS.split(), *(["DROP"] if drop_action else []), "SET_TO_MASKED"]
    numbers = {f"OVS_ACTION_ATTR_{name}": number for number, name in enumerate(actions)}
    w.enum("ovs_action_attr", numbers | {"__OVS_ACTION_ATTR_MAX": len(actions) - 1})
    datapath, table = w.pointer(w.struct("datapath", 8)), w.pointer(w.struct("flow_table", 8))
    skb = w.pointer(w.known("sk_buff", Kind.STRUCT))
    attribute = w.pointer(w.known("nlattr", Kind.STRUCT))
    count = w.pointer(u32)
    w.tracepoint("ovs_dp_upcall", datapath, skb, key, upcall_info)
    w.tracepoint("ovs_do_execute_action", datapath, skb, key, attribute, u32)
    upcall = [("dp", datapath), ("skb", skb), ("key", key), ("upcall_info", upcall_info)]
    w.function("ovs_dp_upcall", *upcall, ("cutlen", u32))
    if queue_function:
        w.function("queue_userspace_packet", *upcall, ("cutlen", u32))
    w.function("ovs_dp_process_packet", ("skb", skb), ("key", key))
    w.function(
        "ovs_flow_tbl_lookup_stats",
        *(("tbl", table), ("key", key), ("skb_hash", u32)),
        *(("n_mask_hit", count), ("n_cache_hit", count)),
    )
    w.function("ovs_execute_actions", ("dp", datapath), ("skb", skb), ("acts", acts), ("key", key))
    return Btf(w.handle, base)


class OvsTypes(Types):
    """This kernel's types and those of the module."""

    def __init__(self, vmlinux: Btf, module: Btf) -> None:
        super().__init__(vmlinux)
        self._modules["openvswitch"] = module
