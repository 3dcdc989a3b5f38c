"""What can be probed on this machine: tracepoints and functions, and what their arguments are."""

import fnmatch
from collections.abc import Iterable, Iterator
from functools import cached_property

from msgspec import Struct

from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.btf import Argument, Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.probe import (
    FED_FIELDS,
    REGISTER_ARGUMENTS,
    ProbeRequest,
    ProbeType,
    fed_arguments,
)
from retis_py.similar import similar

UNKNOWN_GROUP = "?"
"""Stands for a tracepoint's group where tracefs, which knows it, cannot be read."""

# Up to so many functions are searched for in BTF one by one, which takes 0.1 to 0.2 ms each; to
# make a table of all takes 0.25 s.
_FEW = 500

_ALL_FIELDS = frozenset(FED_FIELDS)


class Types:
    """The kernel's types and, as they are asked for, those of its modules."""

    def __init__(self, vmlinux: Btf) -> None:
        self.vmlinux = vmlinux
        self._modules: dict[str, Btf | None] = {}

    @property
    def conntrack(self) -> list[Btf]:
        """Those of the module nf_conntrack, where it is one."""
        btf = self.module("nf_conntrack")
        return [btf] if btf else []

    @property
    def nf_tables(self) -> list[Btf]:
        """Those of the module nf_tables, where it is one."""
        btf = self.module("nf_tables")
        return [btf] if btf else []

    def module(self, name: str) -> Btf | None:
        """Return a loaded module's types."""
        if name not in self._modules:
            self._modules[name] = self.vmlinux.module(name)
        return self._modules[name]


class Available(Struct, frozen=True):
    """A function or tracepoint that can be probed.

    ``symbol`` is as events have it; ``arguments`` is None where BTF does not know them. ``count``
    functions have this name, of which the first is the module's.
    """

    type: ProbeType
    symbol: str
    arguments: list[Argument] | None
    module: str | None = None
    count: int = 1

    @property
    def fed(self) -> dict[int, str]:
        """Positions of the arguments that a probe takes along, and what each is (FED_FIELDS)."""
        within_reach = self.arguments or []
        if self.type is not ProbeType.RAW_TRACEPOINT:
            within_reach = within_reach[:REGISTER_ARGUMENTS]
        found = fed_arguments(within_reach, _ALL_FIELDS)
        return {position: field for field, position in sorted(found, key=lambda pair: pair[1])}

    def __str__(self) -> str:
        return f"{self.type}:{self.symbol}"


class Catalogue:
    """The probes of this machine by name and by wildcard."""

    def __init__(self, host: Host, types: Types, tracefs: Tracefs | None) -> None:
        self._host = host
        self._types = types
        self._tracefs = tracefs

    @cached_property
    def tracepoint_names(self) -> list[str] | None:
        """All tracepoints as ``GROUP:NAME``, None where tracefs cannot be read."""
        return self._tracefs.tracepoints() if self._tracefs else None

    @cached_property
    def traceable(self) -> set[str] | None:
        """The functions that take kprobes, None where tracefs cannot be read."""
        if self._tracefs is None:
            return None
        functions = self._tracefs.traceable_functions()
        return functions - self._tracefs.kprobe_blacklist() if functions else None

    def matching(self, request: ProbeRequest) -> Iterator[Available]:
        """Yield what a request stands for, in the order of names.

        Raises:
            UsageError: nothing does.
            MissingPrerequisite: the kernel lacks what the probes' type needs.
        """
        if request.type is ProbeType.RAW_TRACEPOINT:
            return self._tracepoints(request)
        reason = self._host.kprobes_unavailable
        if reason:
            raise MissingPrerequisite(f"'{request}' cannot be probed: {without_kprobes(reason)}")
        return self._functions(request)

    def functions(self, pattern: str) -> dict[str, tuple[int, str | None]]:
        """Return the functions that match and can be probed, as KallSyms.functions does."""
        names = self._host.kallsyms.functions(pattern)
        if self.traceable is not None:
            names = {n: facts for n, facts in names.items() if n in self.traceable}
        return names

    def arguments_of_tracepoint(self, name: str) -> list[Argument] | None:
        """Return the arguments of ``GROUP:NAME``, None where BTF does not know it."""
        found = self._tracepoint(name.rpartition(":")[2])
        return found[0] if found else None

    def arguments_of_function(self, name: str, module: str | None) -> list[Argument] | None:
        """Return a function's arguments, None where BTF does not know it; for many functions."""
        btf = self._types.module(module) if module else self._types.vmlinux
        found = btf.functions.get(name) if btf else None
        return None if btf is None or found is None else btf.arguments_of(found)

    def _arguments(self, name: str, module: str | None, many: int) -> list[Argument] | None:
        """Return the arguments of one of ``many`` functions in the way that is quicker."""
        if many >= _FEW:
            return self.arguments_of_function(name, module)
        btf = self._types.module(module) if module else self._types.vmlinux
        return btf.function(name) if btf else None

    def _tracepoint(self, bare: str) -> tuple[list[Argument], str | None] | None:
        """Return a tracepoint's arguments, and the module that it comes from."""
        arguments = self._types.vmlinux.tracepoint(bare)
        if arguments is not None:
            return arguments, None
        # Each tracepoint has a function of that name since Linux 5.10.
        module = self._host.kallsyms.module_of(f"__traceiter_{bare}")
        btf = self._types.module(module) if module else None
        arguments = btf.tracepoint(bare) if btf else None
        return None if arguments is None else (arguments, module)

    def _tracepoints(self, request: ProbeRequest) -> Iterator[Available]:
        group, _, name = request.target.partition(":")
        known = self.tracepoint_names
        if known is not None:
            names = fnmatch.filter(known, request.target)
        else:
            known = sorted(self._host.kallsyms.tracepoints())
            if group != "*" and request.is_pattern:
                raise UsageError(
                    f"cannot look for tracepoints that match '{request}': tracefs, which knows the"
                    " groups, cannot be read; use tp:*:NAME, mount tracefs, use"
                    " --allow-system-changes, or run as root"
                )
            group = UNKNOWN_GROUP if group == "*" else group
            names = [f"{group}:{found}" for found in fnmatch.filter(known, name)]
        if not names:
            raise UsageError(
                f"no tracepoint matches '{request}'{nearest(request.target, known, 3)}"
            )
        for found in names:
            bare = found.rpartition(":")[2]
            what = self._tracepoint(bare)
            if what is not None:
                arguments, module = what
                # A type that points to a function has no names for the arguments.
                named = (self._arguments(f"__traceiter_{bare}", module, len(names)) or [])[1:]
                if [a.type for a in named] == [a.type for a in arguments]:
                    arguments = named
                yield Available(request.type, found, arguments, module)

    def _functions(self, request: ProbeRequest) -> Iterator[Available]:
        names = self.functions(request.target)
        if not names:
            near = nearest(request.target, self.functions("*"), 3)
            raise UsageError(f"no function that can be probed matches '{request}'{near}")
        for name, (count, module) in sorted(names.items()):
            arguments = self._arguments(name, module, len(names))
            yield Available(request.type, name, arguments, module, count)


def without_kprobes(reason: str) -> str:
    """Return what to say where no function can be probed, for that reason."""
    return f"{reason}; raw tracepoints (tp:GROUP:NAME) work"


def nearest(name: str, known: Iterable[str], count: int = 1) -> str:
    """Return what to add to an error: the names that are most like one that does not exist."""
    near = similar(name, known, count)
    names = " or ".join(f"'{each}'" for each in near)
    return f", did you mean {names}?" if names else ""
