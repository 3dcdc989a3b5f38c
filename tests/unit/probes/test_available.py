"""What can be probed, on machines made up around this kernel's real types."""

from collections.abc import Callable

import pytest

from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.btf import Argument
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes import available
from retis_py.probes.available import Available, Catalogue, Types, nearest
from retis_py.probes.probe import ProbeType, parse_probe

MakeHost = Callable[..., Host]
MakeTracefs = Callable[..., Tracefs]
FUNCTIONS = ("ip_rcv", "ip_list_rcv", "tcp_v4_rcv", "printk_made_up")
SKB = Argument("skb", "struct sk_buff *")


@pytest.fixture(params=[1, 500], ids=["table", "search"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find functions in BTF."""
    monkeypatch.setattr(available, "_FEW", request.param)


def names(found: list[Available]) -> list[str]:
    return [str(one) for one in found]


@pytest.mark.usefixtures("few")
def test_functions(make_host: MakeHost, make_tracefs: MakeTracefs, types: Types) -> None:
    tracefs = make_tracefs(functions=FUNCTIONS[:3], blacklist="0x1-0x2\tip_list_rcv\n")
    catalogue = Catalogue(make_host(FUNCTIONS), types, tracefs)
    found = list(catalogue.matching(parse_probe("ip_*")))
    assert names(found) == ["kprobe:ip_rcv"]
    assert found[0].arguments is not None
    assert found[0].arguments[:2] == [SKB, Argument("dev", "struct net_device *")]
    assert found[0].fed == {0: "skb", 1: "dev"}
    everything = catalogue.matching(parse_probe("kr:*"))
    assert names(list(everything)) == ["kretprobe:ip_rcv", "kretprobe:tcp_v4_rcv"]


@pytest.mark.usefixtures("few")
def test_functions_where_tracefs_says_nothing(make_host: MakeHost, types: Types) -> None:
    host = make_host((*FUNCTIONS, "ip_rcv"))
    found = {str(one): one for one in Catalogue(host, types, None).matching(parse_probe("*p*"))}
    assert set(found) == {f"kprobe:{name}" for name in FUNCTIONS}
    assert found["kprobe:ip_rcv"].count == 2
    assert found["kprobe:tcp_v4_rcv"].count == 1
    assert found["kprobe:printk_made_up"].arguments is None
    assert found["kprobe:printk_made_up"].fed == {}


def test_arguments_out_of_reach() -> None:
    arguments = [Argument(f"a{n}", "int") for n in range(6)]
    function = Available(ProbeType.KPROBE, "f", [*arguments, SKB])
    assert function.fed == {}
    assert Available(ProbeType.RAW_TRACEPOINT, "g:f", [*arguments, SKB]).fed == {6: "skb"}
    assert Available(ProbeType.KPROBE, "f", [*arguments[:5], SKB, SKB]).fed == {5: "skb"}


def test_tracepoints(make_host: MakeHost, make_tracefs: MakeTracefs, types: Types) -> None:
    tracefs = make_tracefs(tracepoints=("skb:kfree_skb", "net:netif_rx", "made:up"))
    catalogue = Catalogue(make_host(), types, tracefs)
    found = list(catalogue.matching(parse_probe("tp:*:*")))
    assert names(found) == ["raw_tracepoint:net:netif_rx", "raw_tracepoint:skb:kfree_skb"]
    assert found[0].arguments == [SKB]
    assert {"skb", "drop_reason"} <= set(found[1].fed.values())
    assert found[1].arguments is not None
    assert found[1].arguments[1].name == "location"
    with pytest.raises(UsageError, match=r"'raw_tracepoint:skb:kfree', did you mean 'skb:kfree_s"):
        list(catalogue.matching(parse_probe("skb:kfree")))


def test_tracepoints_without_groups(make_host: MakeHost, types: Types) -> None:
    host = make_host(("__traceiter_kfree_skb", "__traceiter_netif_rx", "__traceiter_made_up"))
    catalogue = Catalogue(host, types, None)
    found = names(list(catalogue.matching(parse_probe("tp:*:*_*"))))
    assert found == ["raw_tracepoint:?:kfree_skb", "raw_tracepoint:?:netif_rx"]
    named = names(list(catalogue.matching(parse_probe("skb:kfree_skb"))))
    assert named == ["raw_tracepoint:skb:kfree_skb"]
    with pytest.raises(UsageError, match=r"tracefs, which knows the groups, cannot be read"):
        list(catalogue.matching(parse_probe("tp:skb:*")))


def test_no_kprobes(make_host: MakeHost, types: Types) -> None:
    catalogue = Catalogue(make_host(FUNCTIONS, kprobes=False), types, None)
    with pytest.raises(MissingPrerequisite, match=r"'kprobe:ip_rcv' cannot be probed: .*KPROBES"):
        list(catalogue.matching(parse_probe("ip_rcv")))


def test_what_does_not_exist(make_host: MakeHost, types: Types) -> None:
    catalogue = Catalogue(make_host((*FUNCTIONS, "ipv6_rcv")), types, None)
    with pytest.raises(UsageError) as caught:
        list(catalogue.matching(parse_probe("ip_rcvv")))
    assert str(caught.value) == (
        "no function that can be probed matches 'kprobe:ip_rcvv',"
        " did you mean 'ip_rcv' or 'ipv6_rcv' or 'ip_list_rcv'?"
    )


def test_nearest() -> None:
    assert nearest("xyz", ["abc"]) == ""
    assert nearest("abd", ["abc", "abe", "z"]) in (", did you mean 'abc'?", ", did you mean 'abe'?")
    assert nearest("abd", ["abc", "abe", "z"], 3).count(" or ") == 1
