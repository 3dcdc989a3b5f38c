"""Names of probes."""

import msgspec
import pytest

from retis_py.events.event import Event
from retis_py.process.event_probe import EventProbe, event_probe

TRACEPOINT = EventProbe("raw_tracepoint", "skb:kfree_skb")
FUNCTION = EventProbe("kprobe", "ip_rcv")
RETURN = EventProbe("kretprobe", "ip_rcv")
USDT = EventProbe("usdt", "dpif_recv:recv_upcall")
NEWER = EventProbe("fentry", "ip_rcv")
ALL = (TRACEPOINT, FUNCTION, RETURN, USDT, NEWER)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("raw_tracepoint/skb:kfree_skb", TRACEPOINT),
        ("raw_tracepoint:skb:kfree_skb", TRACEPOINT),
        ("tp:skb:kfree_skb", TRACEPOINT),
        ("tp:skb:kfree_skb/stack", TRACEPOINT),
        ("skb:kfree_skb", TRACEPOINT),
        ("kprobe/ip_rcv", FUNCTION),
        ("kprobe:ip_rcv", FUNCTION),
        ("k:ip_rcv", FUNCTION),
        ("k:ip_rcv/stack", FUNCTION),
        ("ip_rcv", FUNCTION),
        ("kretprobe:ip_rcv", RETURN),
        ("kr:ip_rcv", RETURN),
        ("usdt/dpif_recv:recv_upcall", USDT),
        ("usdt:dpif_recv:recv_upcall", USDT),
        ("u:dpif_recv:recv_upcall", USDT),
        ("fentry/ip_rcv", NEWER),
        ("fentry:ip_rcv", NEWER),
        ("dpif_recv:recv_upcall", None),  # would be a tracepoint
        ("tp/skb:kfree_skb", None),
        ("kfree_skb", None),
        ("", None),
        ("kprobe:", None),
        ("kprobe", None),
        ("ip_rcv*", None),
    ],
)
def test_names(name: str, meant: EventProbe | None) -> None:
    assert [probe for probe in ALL if probe.is_named(name)] == ([meant] if meant else [])


@pytest.mark.parametrize("probe", ALL, ids=str)
def test_the_full_name_always_works(probe: EventProbe) -> None:
    assert probe.is_named(str(probe))


def test_probe_of_an_event() -> None:
    kernel = {"symbol": "ip_rcv", "probe_type": "kprobe"}
    user = {"probe_type": "usdt", "symbol": "a:b", "ip": 1, "path": "/x", "pid": 1, "tid": 1}
    raw = {"common": {"timestamp": 1}}
    assert event_probe(msgspec.convert(raw, Event)) is None
    assert event_probe(msgspec.convert(raw | {"kernel": kernel}, Event)) == FUNCTION
    assert str(event_probe(msgspec.convert(raw | {"userspace": user}, Event))) == "usdt/a:b"
