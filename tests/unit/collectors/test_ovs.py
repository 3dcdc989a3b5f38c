"""When the datapath can be told of, with which probes, and what its numbers are called."""

import struct
from dataclasses import dataclass

import pytest

from retis_py.collect.decode import Decoder
from retis_py.collectors.ovs import OvsCollector, OvsRole, action_names
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.events.event import Event
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import ModuleState
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType, parse_probe, register_of
from unit.collectors.openvswitch import OvsTypes, openvswitch


@dataclass(frozen=True, slots=True)
class MadeUpHost:
    loaded: bool
    kprobes: bool = True

    @property
    def kprobes_unavailable(self) -> str | None:
        return None if self.kprobes else "this kernel is built without kprobes"

    def module_state(self, name: str, option: str) -> ModuleState:
        assert (name, option) == ("openvswitch", "CONFIG_OPENVSWITCH")
        return ModuleState.IN_KERNEL if self.loaded else ModuleState.NOT_LOADED


@pytest.fixture
def types(vmlinux: Btf) -> OvsTypes:
    return OvsTypes(vmlinux, openvswitch(vmlinux))


def test_without_the_module(types: OvsTypes) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        OvsCollector().check(MadeUpHost(loaded=False), types)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "collector ovs: the module openvswitch is not loaded, so there is no datapath: start Open"
        " vSwitch, or load the module (modprobe openvswitch)"
    )


def test_without_types(vmlinux: Btf) -> None:
    types = Types(vmlinux)
    types._modules["openvswitch"] = None
    with pytest.raises(MissingPrerequisite, match="CONFIG_DEBUG_INFO_BTF_MODULES"):
        OvsCollector().check(MadeUpHost(loaded=True), types)  # type: ignore[arg-type]


@pytest.mark.parametrize("kprobes", [True, False])
def test_can_run(types: OvsTypes, kprobes: bool) -> None:
    """With its tracepoints alone too."""
    host = MadeUpHost(loaded=True, kprobes=kprobes)
    OvsCollector().check(host, types)  # type: ignore[arg-type]
    limits = OvsCollector().limits(host)  # type: ignore[arg-type]
    assert (limits is None) == kprobes
    assert limits is None or limits.endswith("queued: this kernel is built without kprobes")


def test_probes_are_of_their_roles() -> None:
    probes = OvsCollector(track=True).own_probes()
    assert sorted(probe.role for probe in probes) == sorted(OvsRole)
    assert max(OvsRole) < 32  # five bits
    silent = {probe.role for probe in probes if probe.silent}
    assert silent == {OvsRole.PROCESS, OvsRole.EXECUTE}
    kinds = {probe.role: parse_probe(probe.target).type for probe in probes}
    assert kinds[OvsRole.UPCALL] is kinds[OvsRole.ACTION] is ProbeType.RAW_TRACEPOINT
    assert OvsRole.EXECUTE not in {probe.role for probe in OvsCollector().own_probes()}


def test_places_of_arguments(types: OvsTypes) -> None:
    """Words of the context: positions for tracepoints, registers for functions."""
    defines = OvsCollector().defines(types)
    assert defines["OVS_PLACE_TP_UPCALL_INFO"] == 3
    assert defines["OVS_PLACE_TP_KEY"] == 2
    assert defines["OVS_PLACE_TP_ACTION"] == 3
    assert defines["OVS_PLACE_CUTLEN"] == register_of(4)
    assert defines["OVS_PLACE_MASKS_TRIED"] == register_of(3)
    assert defines["OVS_PLACE_CACHE_HITS"] == register_of(4)
    assert defines["OVS_ACTION_ATTR_DROP"] == 24
    assert "OVS_TRACK" not in defines
    assert OvsCollector(track=True).defines(types)["OVS_TRACK"] == 1


def test_names_of_actions(vmlinux: Btf) -> None:
    """Numbers above the last common one mean different things to different kernels."""
    newer, older = (action_names(openvswitch(vmlinux, drop_action=drop)) for drop in (True, False))
    assert (newer[1], newer[7], newer[12]) == ("output", "recirc", "ct")
    assert (newer[24], newer[25]) == ("drop", "set_masked")
    assert older[24] == "set_masked"
    assert max(older) == 24
    assert action_names(None) == {}


def decoded(types: OvsTypes, *parts: tuple[str, dict[str, int]], track: bool = False) -> Event:
    """The event of a record with these parts, members not named being zero."""
    known = OvsCollector(track).parts(types)
    bitmap, body = 0, b""
    for number, part in enumerate(known):
        for name, members in parts:
            if part.wire.name == name:
                bitmap |= 1 << number
                zeroes = struct.unpack("=" + part.wire.format, bytes(part.wire.size))
                values = dict(zip(part.wire.fields, zeroes, strict=True)) | members
                body += struct.pack("=" + part.wire.format, *values.values())
    header = (1, 0, bitmap, 0, 1, 1, 0, 0, ProbeType.RAW_TRACEPOINT.number, b"x")
    probe = Probe(ProbeType.RAW_TRACEPOINT, "openvswitch:ovs_do_execute_action", ())
    decoder = Decoder(known, [probe], str)
    return decoder.decode(struct.pack("=" + HEADER.format, *header) + body)


def test_record(types: OvsTypes) -> None:
    event = decoded(types, ("ovs_action", {"action": 1, "argument": 2}))
    assert str(event.ovs) == "exec oport 2"


@pytest.mark.parametrize("action", ["ovs_action", "ovs_action_ct", "ovs_action_ct_nat"])
def test_action_with_a_queue_id(types: OvsTypes, action: str) -> None:
    queue = ("ovs_action_queue", {"queue_id": 0xFFFFFFFF})
    event = decoded(types, (action, {}), queue, track=True)
    assert str(event.ovs).endswith(" q 4294967295")
    with pytest.raises(RetisError, match="missing"):
        decoded(types, queue, track=True)
