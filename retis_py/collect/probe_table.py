"""The attached probes by what records say of them."""

from collections.abc import Sequence

from retis_py.probes.probe import Probe, ProbeType, UserProbe

# With Intel's indirect branch tracking a function starts with an endbr64, and some kernels give
# the address after it.
_ENDBR_SIZE = 4


class ProbeTable(dict[tuple[int, int], Probe | UserProbe]):
    """Probes by the number of their type and their key.

    The key of a tracepoint is its index in ``probes``, that of a USDT probe its program's number,
    that of a function its address.
    """

    def __init__(self, probes: Sequence[Probe]) -> None:
        super().__init__()
        for index, probe in enumerate(probes):
            if probe.type is ProbeType.RAW_TRACEPOINT:
                self[probe.type.number, index] = probe
            else:
                self.add_function(probe)

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""
        number = probe.type.number
        self[number, probe.address] = probe
        self.setdefault((number, probe.address + _ENDBR_SIZE), probe)

    def add_user_probe(self, index: int, probe: UserProbe) -> None:
        """Know a USDT probe that is attached from now on, with its program's number."""
        self[ProbeType.USDT.number, index] = probe
