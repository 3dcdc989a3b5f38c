"""Switching nftables' tracing on for a while, with a table of our own.

The kernel reports the steps of evaluations once any rule anywhere sets ``meta nftrace``, wherever
that rule is. So the table has a chain that no packet ever comes to: it changes nothing.

The table belongs to our netlink socket (NFT_TABLE_F_OWNER, since Linux 5.12): nobody else can
remove it, and the kernel does when we are gone, however we end. On kernels without that its comment
names our process, so that the next run knows what an interrupted one left.
"""

import errno
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retis_py.errors import MissingPrerequisite, RetisError

if TYPE_CHECKING:
    from pyroute2.nftables.main import NFTables

log = logging.getLogger(__name__)

TABLE = "Retis_Table"
CHAIN = "Retis_Chain"

HOW_TO_TRACE = f"nft 'table inet {TABLE} {{ chain {CHAIN} {{ meta nftrace set 1; }}; }}'"
"""What a user can do instead."""

_MARK = "retis-py"

# include/uapi/linux/netfilter.h, include/uapi/linux/netfilter/nf_tables.h
_NFPROTO_INET = 1
_F_OWNER = 2
_REG_1 = 1
_META_NFTRACE = 12


@contextmanager
def tracing() -> Iterator[bool]:
    """Have nftables' evaluations traced while the block runs.

    Yields whether our table goes by itself; else removing it takes CAP_NET_ADMIN.

    Tables that interrupted runs left are removed, tables of others are left alone.

    Raises:
        MissingPrerequisite: we may not, or pyroute2 is missing.
        RetisError: the kernel refuses it.
    """
    nft = _connect()
    try:
        with _explained():
            table = _Table.make(nft, _free_name(nft))
        try:
            yield table.owned
        finally:
            table.remove(nft)
    finally:
        nft.close()


def _connect() -> "NFTables":
    try:
        from pyroute2.nftables.main import NFTables  # noqa: PLC0415 (takes 0.1 s)
    except ImportError as error:
        raise MissingPrerequisite(
            f"nftables' tracing cannot be switched on: {error}; install pyroute2, or run"
            f" {HOW_TO_TRACE} and leave --allow-system-changes out"
        ) from None
    return NFTables(nfgen_family=_NFPROTO_INET)


@contextmanager
def _explained() -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        yield
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise MissingPrerequisite(
                f"the table inet {TABLE}, which switches nftables' tracing on, cannot be added:"
                " CAP_NET_ADMIN is needed; run as root, or leave --allow-system-changes out"
            ) from error
        raise RetisError(
            f"the table inet {TABLE}, which switches nftables' tracing on, cannot be added:"
            f" {os.strerror(error.code)}; leave --allow-system-changes out and run {HOW_TO_TRACE}"
        ) from error


# Whose tables there are


def _free_name(nft: "NFTables") -> str:
    """Return the name for our table, once what interrupted runs left is removed."""
    taken = False
    for message in nft.get_tables():
        name = message.get_attr("NFTA_TABLE_NAME") or ""
        if message["nfgen_family"] != _NFPROTO_INET or not _is_ours(name):
            continue
        owned = bool((message.get_attr("NFTA_TABLE_FLAGS") or 0) & _F_OWNER)
        process = _Process.from_comment(_comment_of(message))
        if not owned and process is not None and not process.is_running:
            nft.table("del", name=name)
            log.info("removed the table inet %s, which an interrupted run left", name)
        elif name == TABLE:
            taken = True
            log.info(
                "nftables' tracing is in use: the table inet %s %s and is left alone",
                name,
                f"is that of process {process.pid}" if process else "was there before",
            )
    return f"{TABLE}_{os.getpid()}" if taken else TABLE


def _is_ours(name: str) -> bool:
    return name == TABLE or name.startswith(f"{TABLE}_")


def _comment_of(message: Any) -> str:
    try:
        return str(message.get_attr("NFTA_TABLE_USERDATA") or "")
    except (ValueError, struct.error):
        return ""  # something else of another program's


@dataclass(frozen=True, slots=True)
class _Process:
    """A process for all time: numbers are used again, together with the start they are not."""

    pid: int
    started: int  # clock ticks since boot

    @classmethod
    def from_comment(cls, comment: str) -> "_Process | None":
        mark, _, rest = comment.partition(" ")
        numbers = rest.split()
        if mark != _MARK or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
            return None
        return cls(int(numbers[0]), int(numbers[1]))

    @property
    def comment(self) -> str:
        return f"{_MARK} {self.pid} {self.started}"

    @property
    def is_running(self) -> bool:
        return _start_of(self.pid) == self.started


def _start_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # PID (COMM) STATE …; COMM may hold anything (proc_pid_stat(5)).
    return int(stat.rpartition(b")")[2].split()[19])


# Our own table


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    owned: bool

    @classmethod
    def make(cls, nft: "NFTables", name: str) -> "_Table":
        table = cls._add(nft, name)
        try:
            nft.chain("create", table=table.name, name=CHAIN)
            nft.rule("create", table=table.name, chain=CHAIN, expressions=(_nftrace_rule(),))
        except BaseException:
            table.remove(nft)
            raise
        log.debug("added the table inet %s%s", table.name, ", which is ours" if table.owned else "")
        return table

    @classmethod
    def _add(cls, nft: "NFTables", name: str) -> "_Table":
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        try:
            _create(nft, name, _F_OWNER)
        except NetlinkError as error:
            if error.code == errno.EEXIST and name == TABLE:
                return cls._add(nft, f"{TABLE}_{os.getpid()}")
            if error.code not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            _create(nft, name, 0)
            return cls(name, owned=False)
        return cls(name, owned=True)

    def remove(self, nft: "NFTables") -> None:
        if self.owned:
            return  # it goes with the socket
        try:
            nft.table("del", name=self.name)
        except Exception as error:  # whatever pyroute2 raises
            log.warning(
                "cannot remove the table inet %s: %s; do it by hand: nft delete table inet %s",
                self.name,
                error,
                self.name,
            )


def _create(nft: "NFTables", name: str, flags: int) -> None:
    us = _Process(os.getpid(), _start_of(os.getpid()) or 0)
    # In a dictionary of their own: pyroute2 takes a keyword 'flags' for the message's.
    nft.table("create", kwarg={"name": name, "flags": flags, "userdata": {"value": us.comment}})


def _nftrace_rule() -> list[Any]:
    """``meta nftrace set 1``: load 1 into a register, and set from there."""
    from pyroute2.nftables.expressions import genex  # noqa: PLC0415

    one = {"attrs": [("NFTA_DATA_VALUE", b"\x01")]}
    return [
        genex("immediate", {"dreg": _REG_1, "data": one}),
        genex("meta", {"key": _META_NFTRACE, "sreg": _REG_1}),
    ]
