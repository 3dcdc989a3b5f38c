"""From what was asked for to what can be attached here, with a reason for what cannot."""

import fnmatch
import logging
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.btf import Argument
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import Catalogue, Types, nearest, without_kprobes
from retis_py.probes.probe import (
    PACKET_FIELDS,
    REGISTER_ARGUMENTS,
    Probe,
    ProbeRequest,
    ProbeType,
    fed_arguments,
)

log = logging.getLogger(__name__)

MAX_PROBES = 1024

_TRACE = 5  # below logging.DEBUG, as in cli/log.py


class Resolver:
    """Finds the probes that requests stand for.

    ``feeds`` are the argument types that some enabled collector feeds on; a probe without such
    an argument would never yield an event.
    """

    def __init__(
        self, host: Host, types: Types, feeds: frozenset[str], tracefs: Tracefs | None
    ) -> None:
        self._host = host
        self._types = types
        self._feeds = feeds
        self._catalogue = Catalogue(host, types, tracefs)

    def resolve(self, requests: Iterable[ProbeRequest]) -> list[Probe]:
        """Return each probe once, in the order first asked for.

        Raises:
            UsageError: a target does not exist, cannot be used, or there are too many.
            MissingPrerequisite: the kernel lacks what the probes' type needs.
        """
        found: dict[tuple[ProbeType, str], Probe] = {}
        for request in requests:
            for probe in self._found(request):
                # Tracepoints' own names are unique; the group need not be right where tracefs
                # does not say what it is.
                key = (probe.type, probe.name)
                known = found.get(key)
                if known is None:
                    found[key] = replace(
                        probe, stack=request.stack, role=request.role, silent=request.silent
                    )
                else:
                    found[key] = replace(
                        known,
                        stack=known.stack or request.stack,
                        optional=known.optional and probe.optional,
                        role=known.role or request.role,
                        silent=known.silent and request.silent,
                    )
                if len(found) > MAX_PROBES:
                    raise UsageError(
                        f"more than {MAX_PROBES:,} probes asked for (at '{request}'): name fewer, "
                        "or narrow the wildcard"
                    )
        return self._with_addresses(list(found.values()))

    def find_function(self, name: str) -> Probe | None:
        """Return a probe with stacks for a function, None where it has no use here."""
        try:
            return self.resolve([ProbeRequest(ProbeType.KPROBE, name, stack=True)])[0]
        except (UsageError, MissingPrerequisite) as error:
            log.log(_TRACE, "not probed: %s", error)
            return None

    def _found(self, request: ProbeRequest) -> Iterator[Probe]:
        if not request.optional:
            yield from self._expand(request)
            return
        try:
            yield from [replace(probe, optional=True) for probe in self._expand(request)]
        except (UsageError, MissingPrerequisite) as error:
            log.debug("going on without a probe: %s", error)

    def _expand(self, request: ProbeRequest) -> Iterator[Probe]:
        if request.type is ProbeType.RAW_TRACEPOINT:
            return self._tracepoints(request)
        reason = self._host.kprobes_unavailable
        if reason:
            raise MissingPrerequisite(f"cannot attach '{request}': {without_kprobes(reason)}")
        return self._functions(request) if request.is_pattern else iter((self._function(request),))

    # Tracepoints

    def _tracepoints(self, request: ProbeRequest) -> Iterator[Probe]:
        if not request.is_pattern:
            yield self._tracepoint(request, request.target)
            return
        known = self._catalogue.tracepoint_names
        if known is None:
            raise UsageError(
                f"cannot look for tracepoints that match '{request}': tracefs, which lists them, "
                "cannot be read; name each one, mount tracefs, use --allow-system-changes, or run"
                " as root"
            )
        names = fnmatch.filter(known, request.target)
        if not names:
            raise UsageError(f"no tracepoint matches '{request}'")
        usable = 0
        for name in names:
            arguments = self._catalogue.arguments_of_tracepoint(name)
            fed = fed_arguments(arguments or [], self._feeds)
            if fed:
                usable += 1
                yield Probe(request.type, name, fed, optional=True)
        if not usable:
            raise UsageError(
                f"none of the {len(names)} tracepoints that match '{request}' has an argument "
                "that an enabled collector feeds on"
            )
        log.debug("'%s': %d of %d tracepoints usable", request, usable, len(names))

    def _tracepoint(self, request: ProbeRequest, name: str) -> Probe:
        known = self._catalogue.tracepoint_names
        if known is not None and name not in known:
            raise UsageError(f"no such tracepoint: '{request}'{nearest(name, known)}")
        arguments = self._catalogue.arguments_of_tracepoint(name)
        if arguments is None:
            raise UsageError(
                f"no such tracepoint: '{request}' (or its module is not loaded, or has no BTF)"
            )
        return Probe(request.type, name, self._usable(request, arguments))

    # Functions

    def _functions(self, request: ProbeRequest) -> Iterator[Probe]:
        names = self._catalogue.functions(request.target)
        if not names:
            raise UsageError(f"no function that can be probed matches '{request}'")
        usable = 0
        for name, (count, module) in sorted(names.items()):
            # Of several functions with one name nobody can tell which one is meant.
            fed = self._wildcard_arguments(name, module) if count == 1 else ()
            if fed or (request.context and count == 1):
                usable += 1
                context = request.context and not _has_packet(fed)
                yield Probe(request.type, name, fed, optional=True, context=context)
        if not usable:
            raise UsageError(
                f"none of the {len(names)} functions that match '{request}' has an argument "
                "that an enabled collector feeds on"
            )
        log.debug("'%s': %d of %d functions usable", request, usable, len(names))

    def _wildcard_arguments(self, name: str, module: str | None) -> tuple[tuple[str, int], ...]:
        arguments = self._catalogue.arguments_of_function(name, module) or []
        return fed_arguments(arguments[:REGISTER_ARGUMENTS], self._feeds)

    def _function(self, request: ProbeRequest) -> Probe:
        name = request.target
        kallsyms = self._host.kallsyms
        if not kallsyms.count(name):
            raise UsageError(f"no such function in this kernel: '{request}'{self._renamed(name)}")
        traceable = self._catalogue.traceable
        if traceable is not None and name not in traceable:
            raise UsageError(
                f"the kernel does not let '{name}' be traced (notrace or inlined):"
                " probe one of its callers"
            )
        arguments = self._types.vmlinux.function(name)
        if arguments is None:
            arguments = self._module_arguments(name)
        if arguments is None:
            raise UsageError(
                f"cannot use '{request}': the type information (BTF) does not know its arguments"
            )
        if request.context:
            fed = fed_arguments(arguments[:REGISTER_ARGUMENTS], self._feeds)
            return Probe(request.type, name, fed, context=not _has_packet(fed))
        return Probe(request.type, name, self._usable(request, arguments))

    def _module_arguments(self, name: str) -> list[Argument] | None:
        module = self._host.kallsyms.module_of(name)
        btf = self._types.module(module) if module else None
        return btf.function(name) if btf else None

    def _usable(
        self, request: ProbeRequest, arguments: list[Argument]
    ) -> tuple[tuple[str, int], ...]:
        within_reach = arguments
        if request.type is not ProbeType.RAW_TRACEPOINT:
            within_reach = arguments[:REGISTER_ARGUMENTS]
        fed = fed_arguments(within_reach, self._feeds)
        # A collector's own probe may find its packet by other means.
        if not fed and not request.role:
            have = ", ".join(a.type for a in arguments) or "none"
            raise UsageError(
                f"cannot use '{request}': no argument that an enabled collector feeds on"
                f" ({', '.join(sorted(self._feeds)) or 'none'}); it has: {have}"
            )
        return fed

    def _with_addresses(self, probes: list[Probe]) -> list[Probe]:
        functions = [p.symbol for p in probes if p.type is not ProbeType.RAW_TRACEPOINT]
        if not functions:
            return probes
        addresses = self._host.kallsyms.addresses(functions)
        located: dict[tuple[ProbeType, str | int], Probe] = {}
        for probe in probes:
            address = addresses.get(probe.symbol, 0)
            # Of several names for one function the first stands for all.
            located.setdefault((probe.type, address or probe.name), replace(probe, address=address))
        return list(located.values())

    def _renamed(self, name: str) -> str:
        # The compiler may keep only a changed copy: ip_rcv.isra.0, tcp_v4_rcv.constprop.0.
        variants = self._host.kallsyms.names(f"{name}.*")
        if variants:
            return f" (the compiler made {variants[0]} of it, whose arguments are not known)"
        return ""


def _has_packet(fed: tuple[tuple[str, int], ...]) -> bool:
    return any(field in PACKET_FIELDS for field, _ in fed)
