"""What the reference cannot be asked: series, single lines, dates, the link layer."""

import msgspec
import pytest

from retis_py.events.event import Event
from retis_py.events.sections.common import Common, Task
from retis_py.events.sections.ct import Ct
from retis_py.events.sections.dev import Dev
from retis_py.events.sections.kernel import Kernel
from retis_py.events.sections.netns import Netns
from retis_py.events.sections.ovs import FlowLookup
from retis_py.events.sections.packet import Packet
from retis_py.events.sections.skb import Skb, SkbMeta, VlanAccel
from retis_py.events.sections.skb_drop import SkbDrop
from retis_py.events.sections.skb_tracking import SkbTracking
from retis_py.events.sections.startup import Machine, SplitFile, SplitPolicy, Startup, TimeSpec
from retis_py.events.sections.tracking import Tracking
from retis_py.events.text import TextFormat, event_text, series_text

MULTI = TextFormat()
SINGLE = TextFormat(multi_line=False)
OFFSET = 1_742_309_146_691_042_000

TRACKING = SkbTracking(orig_head=0x20, timestamp=0x10, skb=0xFF)
META = SkbMeta(len=84, data_len=0, hash=0, ip_summed=0, csum=0, csum_level=0, priority=0)
# An Ethernet header and nothing else: its text is short and holds for -e too.
FRAME = bytes.fromhex("020000000001 020000000002 1234")


def hop(idx: int, **sections: object) -> Event:
    return Event(
        Common(timestamp=1000 + idx, smp_id=1),
        Kernel("ip_rcv", "kprobe"),
        tracking=Tracking(TRACKING, idx),
        netns=Netns(inum=4),
        dev=Dev("eth0", 2),
        **sections,  # type: ignore[arg-type]
    )


def test_a_series_is_led_by_arrows() -> None:
    series = [hop(0, skb=Skb(meta=META)), hop(1, skb=Skb(meta=META)), hop(2)]
    assert series_text(series, MULTI).split("\n") == [
        "1000 (1) [k] ip_rcv #100000000000000020 (skb ff) n 0",
        "  ns 4 if 2 (eth0)",
        "  skb [csum none len 84 priority 0]",
        "  ↳ 1001 (1) [k] ip_rcv #100000000000000020 (skb ff) n 1",
        "      ns 4 if 2 (eth0)",
        "      skb [csum none len 84 priority 0]",
        "  ↳ 1002 (1) [k] ip_rcv #100000000000000020 (skb ff) n 2",
        "      ns 4 if 2 (eth0)",
    ]


def test_a_series_of_one_has_no_arrow() -> None:
    assert series_text([hop(0)], MULTI) == event_text(hop(0), MULTI)
    assert series_text([], MULTI) == ""


def test_a_series_in_single_lines() -> None:
    assert series_text([hop(0), hop(1)], SINGLE).split("\n") == [
        "1000 (1) [k] ip_rcv #100000000000000020 (skb ff) n 0 ns 4 if 2 (eth0)",
        "  ↳ 1001 (1) [k] ip_rcv #100000000000000020 (skb ff) n 1 ns 4 if 2 (eth0)",
    ]


def test_stacks_in_a_series() -> None:
    event = hop(1)
    assert event.kernel is not None
    event.kernel.stack_trace = ["ip_rcv+0x1", "__netif_receive_skb+0x20"]
    lines = series_text([hop(0), event], MULTI).split("\n")
    assert lines[3:] == [
        "        ip_rcv+0x1",
        "        __netif_receive_skb+0x20",
        "      ns 4 if 2 (eth0)",
    ]
    assert event_text(event, SINGLE) == (
        "1001 (1) [k] ip_rcv #100000000000000020 (skb ff) n 1"
        " [ip_rcv+0x1, __netif_receive_skb+0x20] ns 4 if 2 (eth0)"
    )


def test_sections_of_several_lines_in_a_single_one() -> None:
    lookup = FlowLookup(
        flow=1,
        sf_acts=2,
        ufid=(1, 2, 3, 4),
        n_mask_hit=0,
        n_cache_hit=0,
        dpflow="in_port(1)",
        ofpflows=["table=0", "table=1"],
    )
    startup = Startup(
        retis_version="v1.7.0",
        cmdline="retis collect",
        clock_monotonic_offset=TimeSpec(0, 0),
        machine=Machine("6.1", "#1", "x86_64"),
        split_file=SplitFile(3, SplitPolicy("size", 100)),
    )
    assert event_text(Event(Common(5), ovs=lookup, startup=startup), SINGLE) == (
        "5 flow hit ufid 00000001-0000-0002-0000-000300000004 mask 0 cache 0 flow 1 sf_acts 2"
        " odpflow in_port(1) openflow table=0 table=1 collected with Retis v1.7.0"
        " on machine 6.1 #1 x86_64 file id 3 cmdline retis collect"
    )


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        (23_868_643_385_852, "2025-03-18 21:23:35.334427"),
        (23_868_643_385_999, "2025-03-18 21:23:35.334427"),
        (0, "2025-03-18 14:45:46.691042"),
        (2**64 - 1, "2609-10-07 14:20:20.400593"),
    ],
)
def test_dates(timestamp: int, shown: str) -> None:
    fmt = TextFormat(utc=True, clock_offset=OFFSET)
    assert event_text(Event(Common(timestamp, smp_id=3)), fmt) == f"{shown} (3)"


def test_times_before_1970_and_beyond_all_calendars() -> None:
    assert TextFormat(utc=True, clock_offset=-1).time(0) == "1969-12-31 23:59:59.999999"
    assert TextFormat(utc=True, clock_offset=2**63 * 10**9).time(5) == "5"
    assert TextFormat(utc=True, clock_offset=-(2**63) * 10**9).time(5) == "5"


def test_the_link_layer_only_when_asked() -> None:
    with_link_layer = TextFormat(link_layer=True)
    vlan = VlanAccel(proto=0x8100, pcp=3, dei=True, vid=10)
    event = Event(Common(1), packet=Packet(14, 14, FRAME), skb=Skb(vlan_accel=vlan))
    plain = event_text(event, MULTI).split("\n")
    assert len(plain) == 2
    assert "02:00:00" not in plain[1]
    full = event_text(event, with_link_layer).split("\n")
    assert full[1].startswith("  02:00:00:00:00:02 > 02:00:00:00:00:01 ethertype (0x1234) ")
    assert full[2] == "  vlan_accel (ethertype 802.1Q (0x8100) vlan 10 p 3 DEI)"


@pytest.mark.parametrize(
    ("vlan", "shown"),
    [
        (VlanAccel(0x88A8, 0, False, 1), "vlan_accel (ethertype 802.1Q-QinQ (0x88a8) vlan 1 p 0)"),
        (VlanAccel(0x0012, 7, False, 0), "vlan_accel (ethertype (0x0012) vlan 0 p 7)"),
    ],
)
def test_vlan_accel_stands_first(vlan: VlanAccel, shown: str) -> None:
    skb = Skb(vlan_accel=vlan, meta=META)
    meta = "skb [csum none len 84 priority 0]"
    assert skb.text(TextFormat(link_layer=True)) == f"{shown} {meta}"
    assert skb.text(MULTI) == meta


def test_hostile_names_stay_on_their_line() -> None:
    evil = "\x1b]0;owned\x07\n\u202e"
    shown = "\\x1b]0;owned\\x07\\x0a\\u202e"
    event = Event(
        Common(1, 0, Task(1, 1, evil)),
        Kernel(evil, "kprobe", [evil]),
        skb_drop=SkbDrop(evil, evil),
        dev=Dev(evil, 1),
    )
    assert event_text(event, MULTI).split("\n") == [
        f"1 (0) [{shown}] 1 [k] {shown} drop (reason {shown}/{shown})",
        f"    {shown}",
        f"  if 1 ({shown})",
    ]


def test_a_tuple_of_an_unknown_protocol_shows_the_rest() -> None:
    ip = {"src": "10.0.0.1", "dst": "10.0.0.2", "version": "v4"}
    gre = {"ip": ip, "proto": {"gre": {"key": 1}}}
    raw = {
        "state": "new",
        "zone_id": 3,
        "zone_dir": "Default",
        "orig": gre,
        "reply": gre,
        "ct_status": 8,
    }
    assert msgspec.convert(raw, Ct).text(MULTI) == "ct_state NEW status 0x8 zone 3"
