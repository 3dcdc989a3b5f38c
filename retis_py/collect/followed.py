"""The core's own probes: what the stack does to packets that are tracked.

They make no events; bpf/probes/tracking.c says what each does. They are attached where tracking is
asked for and the kernel has the function.
"""

import logging
from collections.abc import Sequence

from msgspec import Struct

from retis_py.collectors.skb_tracking import SkbTrackingCollector
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.probe import REGISTER_ARGUMENTS, Probe, ProbeType, fed_arguments

log = logging.getLogger(__name__)

_SKB = frozenset({"struct sk_buff *"})

FREEING_TRACEPOINTS = {
    "kfree_skb": "forget_traced",
    "consume_skb": "forget_traced",
    "kfree": "forget_freed",
    "kmem_cache_free": "forget_freed",
}
"""Where functions cannot be probed these see packets freed; with the functions of the program."""


class Followed(Struct, frozen=True):
    """A function of the stack and the functions of the program for its entry and its return."""

    name: str
    at_entry: str
    at_return: str | None = None


_FUNCTIONS = (
    # The last user of a packet's data is gone (net/core/skbuff.c).
    Followed("skb_free_head", "forget_packet"),
    # The data become part of another packet: skb_try_coalesce(), GRO.
    Followed("kfree_skb_partial", "forget_stolen"),
    Followed("napi_skb_free_stolen_head", "forget_packet"),
    # GRO keeps the skb with its head for the next packet (net/core/gro.c).
    Followed("napi_reuse_skb", "forget_packet"),
    # The head is replaced by a larger or a private one.
    Followed("pskb_expand_head", "move_begins", "move_ends"),
    Followed("pskb_carve_inside_header", "move_begins", "move_ends"),
    Followed("pskb_carve_inside_nonlinear", "move_begins", "move_ends"),
    # The same packet in another place.
    Followed("skb_copy", "copy_begins", "copy_ends"),
    Followed("skb_copy_expand", "copy_begins", "copy_ends"),
    Followed("__pskb_copy_fclone", "copy_begins", "copy_ends"),
)

PROGRAM_FUNCTIONS = tuple(
    dict.fromkeys(f for each in _FUNCTIONS for f in (each.at_entry, each.at_return) if f)
)
"""All functions of the program that follow packets through functions of the stack."""


class FollowedProbe(Struct, frozen=True):
    """A function to attach: where its skb is, and the functions of the program."""

    probe: Probe
    followed: Followed


def find_followed(host: Host, vmlinux: Btf, asked_for: bool) -> Sequence[FollowedProbe]:
    """Return the functions that this kernel has; says what cannot be followed without the others.

    Empty where no function can be probed, which is a warning where tracking was ``asked_for``.
    """
    limits = SkbTrackingCollector().limits(host)
    if limits is not None:
        log.log(logging.WARNING if asked_for else logging.INFO, "%s", limits)
        return ()
    found = []
    for followed in _FUNCTIONS:
        arguments = vmlinux.function(followed.name)
        fed = fed_arguments((arguments or [])[:REGISTER_ARGUMENTS], _SKB)
        address = host.kallsyms.address(followed.name)
        if not fed or not address:
            log.debug("this kernel has no %s to follow packets through", followed.name)
            continue
        probe = Probe(ProbeType.KPROBE, followed.name, fed, address=address)
        found.append(FollowedProbe(probe, followed))
    return found
