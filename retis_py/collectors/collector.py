"""What a collector is: a hook in the program, the types it feeds on, what it needs, its parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from msgspec import Struct

from retis_py.events.wire import Wire
from retis_py.kernel.capabilities import Capability
from retis_py.kernel.host import Host
from retis_py.probes.available import Types


class Part(Struct, frozen=True):
    """A wire struct and what becomes of it in the event.

    ``build`` takes the unpacked members and returns the section, or the value of the section's
    ``field`` where the section is put together from several parts. Where it does not repeat, as it
    has a time or a packet's own number in it, its text is not worth remembering.
    """

    wire: Wire
    section: str
    build: Callable[..., Any]
    field: str | None = None
    repeats: bool = True


class OwnProbe(Struct, frozen=True):
    """A probe for whose sake a collector's hooks do more than add to an event.

    ``target`` is as a user would write it; ``role`` the number, from 1 to 31, that the hooks know
    it by; a ``silent`` one makes no event unless somebody else asked for it.
    """

    target: str
    role: int
    silent: bool = False


class UsdtRequest(Struct, frozen=True):
    """A USDT probe that a collector wants in each process that runs ``program`` (a file's name).

    ``symbol`` is ``provider:name``; ``function``, one of the collector's ``user_side``, runs there
    and gets the probe's arguments at the positions ``arguments``, counted from 0.
    """

    program: str
    symbol: str
    function: str
    arguments: tuple[int, ...]


class Collector:
    """Base of all collectors: each overrides what it has.

    ``hooks`` are files of bpf/hooks, in the order in which they add their parts, each with a
    function ``hook_FILE``; ``modules`` those that have structs which the hooks read, where they are
    not built in. ``headers`` come before the hooks; ``roles``, a file of bpf/ after them, has what
    its own probes do (bpf/core/chain.h); ``user_side``, another one at the end, the programs for
    USDT probes. ``reads_pages`` says whether a hook reads of a packet what is not in the skb's
    linear part.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    hooks: ClassVar[tuple[str, ...]]
    modules: ClassVar[tuple[str, ...]] = ()
    headers: ClassVar[tuple[str, ...]] = ()
    roles: ClassVar[str | None] = None
    user_side: ClassVar[str | None] = None
    reads_pages: ClassVar[bool] = False
    feeds: ClassVar[frozenset[str]] = frozenset({"struct sk_buff *"})

    def check(self, host: Host, types: Types) -> None:
        """Find out whether the collector can run here.

        Raises:
            MissingPrerequisite: it cannot; says why.
        """

    def limits(self, host: Host) -> str | None:  # noqa: ARG002
        """Return what it cannot do here although it can run, and why: a line, or None."""
        return None

    def probes(self) -> tuple[str, ...]:
        """Return the probes that it installs, as a user would write them."""
        return ()

    def own_probes(self) -> tuple[OwnProbe, ...]:
        """Return those of its probes that have a role; what the kernel lacks is left out."""
        return ()

    def usdt_probes(self) -> tuple[UsdtRequest, ...]:
        """Return the probes that it wants in programs of user space."""
        return ()

    def defines(self, types: Types) -> dict[str, int]:  # noqa: ARG002
        """Return constants for its hooks."""
        return {}

    def begin_startup(self) -> Callable[[], dict[str, Any]]:
        """Begin to find out what it adds to the startup section of the event file.

        The function returned, which may take a while, gives the fields by name.
        """
        return dict

    def running(self, allow_system_changes: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return what is entered right before probes are attached and left at the end.

        Raises, when it is entered:
            MissingPrerequisite: it cannot do what it was allowed to do.
        """
        return nullcontext()

    @property
    def needs_to_undo(self) -> frozenset[Capability]:
        """What it takes, while it is ``running``, to undo what that has changed."""
        return frozenset()

    def parts(self, types: Types) -> tuple[Part, ...]:
        """Return what its hooks add to events, in their order."""
        raise NotImplementedError
