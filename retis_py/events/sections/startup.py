"""Section ``startup``: the collection itself. The first event of each file has it."""

from typing import TYPE_CHECKING, Literal

from retis_py.events.escape import escape
from retis_py.events.sections.base import I64, U32, U64, Data, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat

NS_PER_S = 1_000_000_000


class TimeSpec(Data):
    """A struct timespec."""

    sec: I64
    nsec: I64  # may be negative

    @property
    def ns(self) -> int:
        """The same in nanoseconds."""
        return self.sec * NS_PER_S + self.nsec

    @classmethod
    def from_ns(cls, ns: int) -> "TimeSpec":
        """Split ``ns`` nanoseconds, ``nsec`` from 0 to 999,999,999."""
        return cls(*divmod(ns, NS_PER_S))


class Machine(Data):
    """uname(2) of the machine that collected."""

    kernel_release: str  # "6.1.0-18-amd64"
    kernel_version: str  # "#1 SMP PREEMPT_DYNAMIC ..."
    hardware_name: str  # "x86_64"


class SplitPolicy(Data):
    """When a new file of a rotated output begins."""

    kind: Literal["size"]
    limit: U64  # bytes


class SplitFile(Data):
    """Place of this file in a rotated output."""

    id: U32  # from 0, the number in the file's name
    policy: SplitPolicy


class NftTable(Data):
    """A table of nftables: texts by chain and by rule handle, without counters' values.

    What stands under ``policy`` is a base chain's own line: type, hook, priority and policy.
    """

    family: str  # "inet", "ip", "ip6", "arp", "bridge", "netdev"
    name: str
    handle: I64  # counted for each network namespace
    chains: dict[str, dict[str, str]]


class NftRules(Data):
    """The rules of nftables as they were when the collection began (no section of retis's)."""

    tables: list[NftTable]
    netns: U32  # inum of the network namespace whose rules these are: the collector's
    cut: bool = False  # there were too many


class Startup(Section):
    """Who collected, how, where."""

    retis_version: str  # "v1.7.0", "v1.7.0+retis-py.0.1.0"
    cmdline: str
    clock_monotonic_offset: TimeSpec  # CLOCK_REALTIME minus CLOCK_MONOTONIC
    machine: Machine
    split_file: SplitFile | None = None
    nft_rules: NftRules | None = None

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """Version, machine, number of a rotated file, command line: a line each."""
        machine = self.machine
        uname = f"{machine.kernel_release} {machine.kernel_version} {machine.hardware_name}"
        lines = [
            f"collected with Retis {escape(self.retis_version)}",
            f"on machine {escape(uname)}",
        ]
        if self.split_file is not None:
            lines.append(f"file id {self.split_file.id}")
        lines.append(f"cmdline {escape(self.cmdline)}")
        return "\n".join(lines)
