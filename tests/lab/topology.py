"""Networks of several namespaces: a router that translates addresses, a bridge, a tunnel.

All are IPv4 only, with permanent neighbours where that spares ARP: what a test sees is what it
sent. Forwarding and the rest is the kernel's own.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab import netns

_counter = itertools.count(1)


def own_address() -> str:
    """An IPv4 address that no other test of this machine uses (RFC 2544 keeps it off networks).

    A filter for it sees nothing of what others send.
    """
    number = next(_counter)
    return f"198.{18 + number % 2}.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"


@dataclass(frozen=True, slots=True)
class Routed:
    """client - router - server; ``service`` is the address that the router makes the server's.

    A packet from the client to ``service`` is given the server's address as its destination and
    the router's ``outside`` as its source; its reply comes back from ``service``.
    """

    client: netns.Host
    router: str
    inside_dev: str
    outside_dev: str
    outside: str
    server: netns.Host
    service: str


@contextmanager
def translating_router() -> Iterator[Routed]:
    """Two hosts behind a router with DNAT and masquerade (nftables)."""
    service = own_address()
    with _namespaces(3) as (client, router, server):
        _batch(
            router,
            f"link add inside address 02:00:00:01:00:01 type veth"
            f" peer name veth-c address 02:00:00:01:00:02 netns {client}",
            f"link add outside address 02:00:00:02:00:01 type veth"
            f" peer name veth-s address 02:00:00:02:00:02 netns {server}",
            "addr add 10.201.0.1/24 dev inside",
            "addr add 10.202.0.1/24 dev outside",
            "link set inside up",
            "link set outside up",
            "neigh replace 10.201.0.2 lladdr 02:00:00:01:00:02 dev inside nud permanent",
            "neigh replace 10.202.0.2 lladdr 02:00:00:02:00:02 dev outside nud permanent",
        )
        for ns, dev, net in ((client, "veth-c", 1), (server, "veth-s", 2)):
            gateway = f"10.20{net}.0.1"
            _batch(
                ns,
                f"addr add 10.20{net}.0.2/24 dev {dev}",
                f"link set {dev} up",
                f"neigh replace {gateway} lladdr 02:00:00:0{net}:00:01 dev {dev} nud permanent",
                f"route add default via {gateway}",
            )
        netns.run(router, f"echo 1 > /proc/sys/net/ipv4/ip_forward\n{_translation(service)}")
        yield Routed(
            netns.Host(client, "veth-c", "02:00:00:01:00:02", "10.201.0.2", ""),
            router,
            "inside",
            "outside",
            "10.202.0.1",
            netns.Host(server, "veth-s", "02:00:00:02:00:02", "10.202.0.2", ""),
            service,
        )


def _translation(service: str) -> str:
    return f"""nft -f - <<END
table ip translation {{
    chain before {{
        type nat hook prerouting priority -100
        ip daddr {service} dnat to 10.202.0.2
    }}
    chain after {{
        type nat hook postrouting priority 100
        oifname outside masquerade
    }}
}}
END"""


@dataclass(frozen=True, slots=True)
class Bridged:
    """Hosts, each with one interface, on the ports of a bridge in a namespace of its own."""

    bridge: netns.Host
    ports: tuple[str, ...]
    hosts: tuple[netns.Host, ...]


@contextmanager
def bridge(ports: int = 3) -> Iterator[Bridged]:
    """A bridge that forwards at once: no spanning tree, no snooping."""
    with _namespaces(ports + 1) as (switch, *leaves):
        # Not every kernel has a VLAN-aware bridge, but each of them can leave snooping out.
        names = tuple(f"port{n}" for n in range(ports))
        hosts = tuple(
            netns.Host(ns, "eth", f"02:00:00:03:00:{n:02x}", f"10.203.0.{n + 1}", "")
            for n, ns in enumerate(leaves)
        )
        _batch(
            switch,
            "link add name bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            *(
                f"link add {name} type veth peer name {host.dev} address {host.mac} netns {host.ns}"
                for name, host in zip(names, hosts, strict=True)
            ),
            *(f"link set {name} master bridge up" for name in names),
            "link set bridge up",
        )
        for host in hosts:
            _batch(host.ns, f"addr add {host.ip4}/24 dev {host.dev}", f"link set {host.dev} up")
        netns.wait_until(lambda: _are_forwarding(switch, ports), "the ports of the bridge")
        yield Bridged(netns.Host(switch, "bridge", "", "", ""), names, hosts)


def _are_forwarding(switch: str, ports: int) -> bool:
    shown = netns.run(switch, ["bridge", "link", "show"]).stdout
    return shown.count("state forwarding") == ports


@dataclass(frozen=True, slots=True)
class Tunnel:
    """client - left ==VXLAN== right: the client's packets enter the tunnel by forwarding.

    ``left`` and ``right`` have ``dev`` for the network below and ``vxlan_dev``; ``inner`` are
    their addresses in the tunnel, ``ip4`` those below it.
    """

    client: netns.Host
    left: netns.Host
    right: netns.Host
    vxlan_dev: str
    inner: tuple[str, str]
    port: int


@contextmanager
def vxlan_tunnel() -> Iterator[Tunnel]:
    """A VXLAN (RFC 7348) of two namespaces, and a client that the left one forwards for."""
    with _namespaces(3) as (client, left, right):
        _batch(
            left,
            f"link add below address 02:00:00:04:00:01 type veth"
            f" peer name below address 02:00:00:04:00:02 netns {right}",
            f"link add inside address 02:00:00:05:00:01 type veth"
            f" peer name eth address 02:00:00:05:00:02 netns {client}",
            "addr add 10.205.0.1/24 dev inside",
            "link set inside up",
            "neigh replace 10.205.0.2 lladdr 02:00:00:05:00:02 dev inside nud permanent",
        )
        _batch(
            client,
            "addr add 10.205.0.2/24 dev eth",
            "link set eth up",
            "neigh replace 10.205.0.1 lladdr 02:00:00:05:00:01 dev eth nud permanent",
            "route add default via 10.205.0.1",
        )
        for ns, own, other in ((left, 1, 2), (right, 2, 1)):
            _batch(
                ns,
                f"addr add 10.204.0.{own}/24 dev below",
                "link set below up",
                f"neigh replace 10.204.0.{other} lladdr 02:00:00:04:00:0{other}"
                " dev below nud permanent",
                f"link add vx address 02:00:00:06:00:0{own} type vxlan id 7"
                f" remote 10.204.0.{other} local 10.204.0.{own} dstport 4789 dev below",
                f"addr add 10.206.0.{own}/24 dev vx",
                "link set vx up",
                f"neigh replace 10.206.0.{other} lladdr 02:00:00:06:00:0{other}"
                " dev vx nud permanent",
            )
        _batch(right, "route add 10.205.0.0/24 via 10.206.0.1")
        netns.run(left, "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield Tunnel(
            netns.Host(client, "eth", "02:00:00:05:00:02", "10.205.0.2", ""),
            netns.Host(left, "below", "02:00:00:04:00:01", "10.204.0.1", ""),
            netns.Host(right, "below", "02:00:00:04:00:02", "10.204.0.2", ""),
            "vx",
            ("10.206.0.1", "10.206.0.2"),
            4789,
        )


@contextmanager
def _namespaces(count: int) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(netns.namespace(ipv6=False)) for _ in range(count)]


def _batch(ns: str, *lines: str) -> None:
    text = "\n".join(lines)
    netns.run(ns, f"ip -batch - <<'END'\n{text}\nEND")
