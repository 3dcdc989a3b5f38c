"""Hypothesis strategies of events, as the objects that JSON makes of their lines.

Every section comes with every optional field, there and not, with integers up to the ends of their
ranges and names beyond ASCII. `FULL` is one event with everything in it.
"""

import base64
from typing import Any

from hypothesis import strategies as st

from interop.packet_strategies import frames

Json = dict[str, Any]


def _unsigned(bits: int) -> st.SearchStrategy[int]:
    most = 2**bits - 1
    return st.one_of(st.sampled_from((0, 1, most)), st.integers(0, most))


def _signed(bits: int) -> st.SearchStrategy[int]:
    most = 2 ** (bits - 1) - 1
    return st.one_of(st.sampled_from((0, -1, most, -most - 1)), st.integers(-most - 1, most))


u8, u16, u32, u64 = _unsigned(8), _unsigned(16), _unsigned(32), _unsigned(64)
i32, i64 = _signed(32), _signed(64)

# Nothing that is escaped in text: the reference does not.
names = st.one_of(
    st.sampled_from(("eth0", "", "napi/phy0-8197", "a b", "Ünï", "网卡0", "😀", 'a"b\\c', "%s{}")),
    st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=12),
)
# What a terminal would act upon.
hostile_names = st.text(
    st.one_of(
        st.sampled_from("\x1b\n\r\t\0\x07\x7f\x9b\u202e\u2028\u200b"), st.characters(codec="utf-8")
    ),
    max_size=12,
)


@st.composite
def _object(draw: st.DrawFn, required: Json, optional: Json | None = None) -> Json:
    """Object of values drawn, the optional ones half the time."""
    fields = {key: draw(strategy) for key, strategy in required.items()}
    for key, strategy in (optional or {}).items():
        if draw(st.booleans()):
            fields[key] = draw(strategy)
    return fields


def commons(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    pid = st.one_of(st.just(7), i32)
    task = _object({"pid": pid, "tgid": pid, "comm": text})
    return _object({"timestamp": u64}, {"smp_id": u32, "task": task})


def startups(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    machine = dict.fromkeys(("kernel_release", "kernel_version", "hardware_name"), text)
    policy = _object({"kind": st.just("size"), "limit": u64})
    return _object(
        {
            "retis_version": st.sampled_from(("v1.7.0", "v1.7.0+retis-py.0.1", "v1.7.1-dev")),
            "cmdline": text,
            "clock_monotonic_offset": _object({"sec": i64, "nsec": i64}),
            "machine": _object(machine),
        },
        {"split_file": _object({"id": u32, "policy": policy})},
    )


def kernels(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    types = st.sampled_from(("kprobe", "kretprobe", "raw_tracepoint", "fentry"))
    stack = st.lists(text.filter(bool), max_size=4)
    return _object({"symbol": text, "probe_type": types}, {"stack_trace": stack})


def userspaces(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    path = st.one_of(
        st.sampled_from(("/usr/sbin/ovs-vswitchd", "vswitchd", "/a/", "/", "", "./a//b (deleted)")),
        text,
    )
    fields = {"probe_type": text, "symbol": text, "ip": u64, "path": path, "pid": i32, "tid": i32}
    return _object(fields)


skb_trackings = _object({"orig_head": u64, "timestamp": u64, "skb": u64})
trackings = _object({"skb": skb_trackings, "idx": u32})
netns = _object({"inum": u32}, {"cookie": u64})


def skb_drops(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return _object({"drop_reason": text}, {"subsys": text})


def devs(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return _object({"name": text, "ifindex": u32}, {"rx_ifindex": u32})


@st.composite
def packets(draw: st.DrawFn) -> Json:
    data = draw(frames())[: draw(st.sampled_from((255, 1024, 40)))]
    encoded = base64.b64encode(data).decode()
    return {"len": draw(u32), "capture_len": len(data), "data": encoded}


skbs = _object(
    {},
    {
        "vlan_accel": _object({"proto": u16, "pcp": u8, "dei": st.booleans(), "vid": u16}),
        "meta": _object(
            {
                "len": u32,
                "data_len": u32,
                "hash": u32,
                "ip_summed": st.one_of(st.integers(0, 4), u8),
                "csum": u32,
                "csum_level": u8,
                "priority": u32,
            }
        ),
        "data_ref": _object(
            {
                "nohdr": st.booleans(),
                "cloned": st.booleans(),
                "fclone": u8,
                "users": u8,
                "dataref": u8,
            }
        ),
        "gso": _object({"flags": u8, "frags": u8, "size": u32, "segs": u32, "type": u32}),
    },
)


def nfts(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return _object(
        {
            "table_name": text,
            "table_handle": i64,
            "chain_name": text,
            "chain_handle": i64,
            "verdict": st.one_of(st.sampled_from(("accept", "drop", "jump")), text),
            "policy": st.booleans(),
        },
        {"rule_handle": i64, "verdict_chain_name": text},
    )


_ports = _object({"sport": u16, "dport": u16})
_protocols = {
    "tcp": _ports,
    "udp": _ports,
    "icmp": _object({"code": u8, "type": u8, "id": u16}),
    "sctp": _object({"sport": u16, "dport": u16, "vtag": u32}),
}


@st.composite
def _connections(draw: st.DrawFn, text: st.SearchStrategy[str]) -> Json:
    protocol = draw(st.sampled_from(tuple(_protocols)))
    replies = protocol if draw(st.integers(0, 9)) else draw(st.sampled_from(tuple(_protocols)))
    version = st.sampled_from(("v4", "v6"))
    address = st.one_of(st.sampled_from(("10.0.0.1", "fe80::1", "::")), text)
    ip = _object({"src": address, "dst": address, "version": version})
    return draw(
        _object(
            {
                "zone_id": u16,
                "zone_dir": st.sampled_from(("Original", "Reply", "Default", "None")),
                "orig": _object({"ip": ip, "proto": _object({protocol: _protocols[protocol]})}),
                "reply": _object({"ip": ip, "proto": _object({replies: _protocols[replies]})}),
                "ct_status": u64,
            },
            {"proto_state": text, "mark": u32, "labels": _object({"hi": u64, "lo": u64})},
        )
    )


@st.composite
def cts(draw: st.DrawFn, text: st.SearchStrategy[str]) -> Json:
    states = ("established", "related", "new", "reply", "related_reply", "untracked")
    ct = {"state": draw(st.sampled_from(states))} | draw(_connections(text))
    if draw(st.booleans()):
        ct["parent"] = draw(_connections(text))
    return ct


# fmt: off
ACTIONS = (
    "userspace", "set", "push_vlan", "pop_vlan", "sample", "hash", "push_mpls", "pop_mpls",
    "set_masked", "trunc", "push_eth", "pop_eth", "ct_clear", "push_nsh", "pop_nsh", "meter",
    "clone", "check_pkt_len", "add_mpls", "dec_ttl",
)
# fmt: on
_ufids = st.lists(u32, min_size=4, max_size=4)


def _actions(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    address = st.sampled_from(("10.0.0.1", "2001:db8::1")) | text
    port = st.sampled_from((0, 1024)) | u16
    nat = {"dir": st.sampled_from(("src", "dst")), "min_addr": address, "max_addr": address}
    nat |= {"min_port": port, "max_port": port}
    # All flags at once: what they show depends on several.
    flags = st.just(0xFFFF_FFFF) | u32
    own_fields = st.one_of(
        _object({"action": st.sampled_from(ACTIONS)}),
        _object({"action": st.just("output"), "port": u32}),
        _object({"action": st.just("recirc"), "id": u32}),
        _object({"action": st.just("drop"), "reason": u32}),
        _object(
            {"action": st.just("ct"), "flags": flags, "zone_id": u16}, {"nat": _object({}, nat)}
        ),
        _object({"action": st.sampled_from(("psample", "output", "recirc", "ct", "drop"))}),
        st.just({}),
    )
    common = _object({"event_type": st.just("action_execute"), "recirc_id": u32}, {"queue_id": u32})
    return st.tuples(common, own_fields).map(lambda parts: parts[0] | parts[1])


def ovs(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    def kind(name: str, **fields: Any) -> st.SearchStrategy[Json]:
        return _object({"event_type": st.just(name), **fields})

    cmd = st.one_of(st.integers(0, 4), u8)
    upcall = {"upcall_ts": u64, "upcall_cpu": u32}
    batch = {"queue_id": u32, "batch_ts": u64, "batch_idx": u8}
    return st.one_of(
        kind("upcall", cmd=cmd, port=u32, cpu=u32),
        kind("upcall_enqueue", ret=i32, cmd=cmd, port=u32, queue_id=u32, **upcall),
        kind("upcall_return", ret=i32, **upcall),
        kind("recv_upcall", type=u32, pkt_size=u32, key_size=u64, **batch),
        kind("flow_operation", op_type=st.sampled_from(("put", "exec")), **batch),
        _actions(text),
        kind(
            "flow_lookup",
            flow=u64,
            sf_acts=u64,
            ufid=_ufids,
            n_mask_hit=u32,
            n_cache_hit=u32,
            dpflow=text,
            ofpflows=st.lists(text.filter(bool), max_size=3),
        ),
    )


def ovs_detraces(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    flows = {"dpflow": text, "ofpflows": st.lists(text.filter(bool), max_size=3)}
    return _object({"ufid": _ufids, "flow": u64, "sf_acts": u64, **flows})


def events(text: st.SearchStrategy[str] = names) -> st.SearchStrategy[Json]:
    """Events with any set of sections, all strings drawn from ``text``."""
    return _object(
        {"common": commons(text)},
        {
            "kernel": kernels(text),
            "userspace": userspaces(text),
            "tracking": trackings,
            "skb-tracking": skb_trackings,
            "skb-drop": skb_drops(text),
            "packet": packets(),
            "skb": skbs,
            "netns": netns,
            "dev": devs(text),
            "ovs": ovs(text),
            "ovs-detrace": ovs_detraces(text),
            "nft": nfts(text),
            "ct": cts(text),
            "startup": startups(text),
        },
    )


_IP = {"src": "10.0.0.1", "dst": "10.0.0.2", "version": "v4"}
_CONNECTION: Json = {
    "zone_id": 1,
    "zone_dir": "Default",
    "orig": {"ip": _IP, "proto": {"tcp": {"sport": 1, "dport": 2}}},
    "reply": {"ip": _IP, "proto": {"tcp": {"sport": 2, "dport": 1}}},
    "ct_status": 8,
    "proto_state": "ESTABLISHED",
    "mark": 3,
    "labels": {"hi": 1, "lo": 2},
}
FULL: Json = {
    "common": {"timestamp": 5, "smp_id": 1, "task": {"pid": 2, "tgid": 3, "comm": "ping"}},
    "kernel": {"symbol": "ip_rcv", "probe_type": "kprobe", "stack_trace": ["ip_rcv+0x1", "b+0x2"]},
    "userspace": {
        "probe_type": "usdt",
        "symbol": "dpif_recv:recv_upcall",
        "ip": 4,
        "path": "/usr/sbin/ovs-vswitchd",
        "pid": 5,
        "tid": 6,
    },
    "tracking": {"skb": {"orig_head": 1, "timestamp": 2, "skb": 3}, "idx": 4},
    "skb-tracking": {"orig_head": 1, "timestamp": 2, "skb": 3},
    "skb-drop": {"subsys": "openvswitch", "drop_reason": "LAST_ACTION"},
    "packet": {"len": 60, "capture_len": 2, "data": "QUI="},
    "skb": {
        "vlan_accel": {"proto": 33024, "pcp": 1, "dei": True, "vid": 10},
        "meta": {
            "len": 1,
            "data_len": 2,
            "hash": 3,
            "ip_summed": 1,
            "csum": 4,
            "csum_level": 1,
            "priority": 6,
        },
        "data_ref": {"nohdr": True, "cloned": True, "fclone": 1, "users": 2, "dataref": 3},
        "gso": {"flags": 1, "frags": 2, "size": 3, "segs": 4, "type": 5},
    },
    "netns": {"cookie": 1, "inum": 2},
    "dev": {"name": "eth0", "ifindex": 1, "rx_ifindex": 2},
    "ovs": {"event_type": "upcall", "cmd": 1, "port": 2, "cpu": 3},
    "ovs-detrace": {
        "ufid": [1, 2, 3, 4],
        "flow": 5,
        "sf_acts": 6,
        "dpflow": "in_port(1)",
        "ofpflows": ["table=0", "table=1"],
    },
    "nft": {
        "table_name": "t",
        "table_handle": 1,
        "chain_name": "c",
        "chain_handle": 2,
        "rule_handle": 3,
        "verdict": "jump",
        "verdict_chain_name": "d",
        "policy": False,
    },
    "ct": {"state": "established", **_CONNECTION, "parent": _CONNECTION},
    "startup": {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect",
        "clock_monotonic_offset": {"sec": 1, "nsec": 2},
        "machine": {"kernel_release": "6.1", "kernel_version": "#1", "hardware_name": "x86_64"},
        "split_file": {"id": 1, "policy": {"kind": "size", "limit": 1000}},
    },
}
OVS_KINDS: tuple[Json, ...] = (
    {
        "event_type": "upcall_enqueue",
        "ret": 0,
        "cmd": 1,
        "port": 2,
        "upcall_ts": 3,
        "upcall_cpu": 4,
        "queue_id": 5,
    },
    {"event_type": "upcall_return", "upcall_ts": 1, "upcall_cpu": 2, "ret": 3},
    {
        "event_type": "recv_upcall",
        "type": 1,
        "pkt_size": 2,
        "key_size": 3,
        "queue_id": 4,
        "batch_ts": 5,
        "batch_idx": 6,
    },
    {
        "event_type": "flow_operation",
        "op_type": "put",
        "queue_id": 1,
        "batch_ts": 2,
        "batch_idx": 3,
    },
    {"event_type": "action_execute", "action": "set", "recirc_id": 1, "queue_id": 2},
    {
        "event_type": "flow_lookup",
        "flow": 1,
        "sf_acts": 2,
        "ufid": [1, 2, 3, 4],
        "n_mask_hit": 3,
        "n_cache_hit": 4,
        "dpflow": "in_port(1)",
        "ofpflows": ["table=0"],
    },
)
