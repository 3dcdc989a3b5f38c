"""Collector ``nft``: which rule, or policy, of nftables decided on the packet, and how.

The kernel calls ``__nft_trace_packet()`` at each step of an evaluation, for all packets, as long as
any rule anywhere sets ``meta nftrace`` (net/netfilter/nf_tables_core.c).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from retis_py.collectors.collector import Collector, Part
from retis_py.collectors.needed_module import NeededModule, check_module
from retis_py.collectors.nft_verdicts import DEFAULT_NFT_VERDICTS, parse_nft_verdicts
from retis_py.errors import MissingPrerequisite
from retis_py.events.sections import nft
from retis_py.events.sections.startup import NftRules, NftTable
from retis_py.kernel.btf import Argument, Btf, Kind
from retis_py.kernel.capabilities import Capability
from retis_py.kernel.host import Host
from retis_py.kernel.nft_ruleset import RulesetReader
from retis_py.kernel.nft_trace import HOW_TO_TRACE, tracing
from retis_py.probes.available import Types
from retis_py.probes.probe import register_of

log = logging.getLogger(__name__)

_MODULE = "nf_tables"
_FUNCTION = "__nft_trace_packet"

# Its arguments changed with Linux 6.4: what is no longer in the traceinfo is one of them.
_PLACES = {
    "struct nft_chain *": "NFT_PLACE_CHAIN",
    "struct nft_verdict *": "NFT_PLACE_VERDICT",
    "struct nft_rule_dp *": "NFT_PLACE_RULE",
}
_TRACE_TYPES = ("NFT_TRACETYPE_POLICY", "NFT_TRACETYPE_RETURN")


class NftCollector(Collector):
    """Reports the steps of evaluations that end in one of the verdicts asked for."""

    name = "nft"
    summary = "nftables rule and verdict"
    hooks = ("nft",)
    modules = (_MODULE,)
    feeds = frozenset({"enum nft_trace_types"})

    def __init__(self, verdicts: int = parse_nft_verdicts(DEFAULT_NFT_VERDICTS)) -> None:
        self._verdicts = verdicts
        self._removes_table = False

    def check(self, host: Host, types: Types) -> None:
        """Check that the function can be probed."""
        if host.kprobes_unavailable:
            raise MissingPrerequisite(
                f"collector nft: it needs to probe the function {_FUNCTION}, but"
                f" {host.kprobes_unavailable}; collect without nft"
            )
        if _arguments(types) is not None:
            return
        check_module(
            host,
            self.name,
            NeededModule(
                _MODULE,
                "CONFIG_NF_TABLES",
                "there are no rules",
                f"load it (modprobe {_MODULE}), or a ruleset with nft",
            ),
        )
        raise MissingPrerequisite(
            f"collector nft: the type information (BTF) does not know the function {_FUNCTION}:"
            " use a kernel with CONFIG_DEBUG_INFO_BTF_MODULES"
        )

    def probes(self) -> tuple[str, ...]:
        """Return the function that the kernel calls at each step."""
        return (f"kprobe:{_FUNCTION}",)

    def defines(self, types: Types) -> dict[str, int]:
        """Return the verdicts asked for, and where the function's arguments are."""
        arguments = _arguments(types) or []
        constants = {
            _PLACES[argument.type]: register_of(position)
            for position, argument in enumerate(arguments)
            if argument.type in _PLACES
        }
        for btf in (types.vmlinux, *types.nf_tables):
            kinds = btf.enum("nft_trace_types") or {}
            constants |= {name: kinds[name] for name in _TRACE_TYPES if name in kinds}
            constants |= _rule_layout(btf)
        return constants | {"NFT_VERDICTS": self._verdicts}

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the section, and where a jump leads."""
        return (
            Part(nft.WIRE, "nft", nft.from_wire),
            Part(nft.TARGET_WIRE, "nft", nft.target_from_wire, "verdict_chain_name"),
        )

    def begin_startup(self) -> Callable[[], dict[str, Any]]:
        """Begin to read the rules of this network namespace, for which events have handles."""
        reader = RulesetReader()

        def finish() -> dict[str, Any]:
            ruleset = reader.finish()
            if ruleset is None:
                return {}
            tables = [NftTable(t.family, t.name, t.handle, t.chains) for t in ruleset.tables]
            return {"nft_rules": NftRules(tables, ruleset.netns, ruleset.cut)}

        return finish

    def running(self, allow_system_changes: bool) -> AbstractContextManager[None]:
        """Have the kernel call the function, where that is allowed."""
        if allow_system_changes:
            return self._traced()
        log.info(
            "nft events come only while some rule sets 'meta nftrace': use --allow-system-changes,"
            " or run %s",
            HOW_TO_TRACE,
        )
        return nullcontext()

    @property
    def needs_to_undo(self) -> frozenset[Capability]:
        """Return what removing the table takes, where that does not go by itself."""
        return frozenset({Capability.NET_ADMIN}) if self._removes_table else frozenset()

    @contextmanager
    def _traced(self) -> Iterator[None]:
        with tracing() as goes_by_itself:
            self._removes_table = not goes_by_itself
            yield


def _rule_layout(btf: Btf) -> dict[str, int]:
    """Return how to get from a rule to the next one: from the bit-fields of struct nft_rule_dp."""
    found = btf.find("nft_rule_dp", Kind.STRUCT)
    if found is None:
        return {}
    members = {member.name: member for member in btf.members(found)}
    length = members["dlen"]
    return {
        "NFT_RULE_SIZE": btf.size(found),
        "NFT_RULE_IS_LAST": members["is_last"].bit_offset,
        "NFT_RULE_DLEN": length.bit_offset,
        "NFT_RULE_DLEN_MASK": (1 << length.bit_size) - 1,
    }


def _arguments(types: Types) -> list[Argument] | None:
    for btf in (types.vmlinux, *types.nf_tables):
        arguments = btf.function(_FUNCTION)
        if arguments is not None:
            return arguments
    return None
