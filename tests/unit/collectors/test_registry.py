"""Which collectors a collection takes."""

import itertools
import re
import struct

import pytest

from retis_py.collectors.collector import Collector
from retis_py.collectors.registry import (
    COLLECTOR_NAMES,
    CollectorOptions,
    all_collectors,
    choose_collectors,
    make_collector,
)
from retis_py.collectors.skb import SkbPart
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.events.event import Event
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.probes.probe import FED_FIELDS
from retis_py.resources import bpf_dir
from unit.collectors.made_up import OtherTypes

NAMES = ["skb-tracking", "skb-drop", "skb", "dev", "ns", "ct"]
OPTIONS = CollectorOptions()
COLLECTORS = all_collectors(CollectorOptions(frozenset(SkbPart)))


def names(collectors: object) -> list[str]:
    return [c.name for c in collectors]  # type: ignore[attr-defined]


@pytest.fixture
def types(vmlinux: Btf) -> Types:
    return Types(vmlinux)


@pytest.fixture
def without_reasons(vmlinux: Btf) -> Types:
    return OtherTypes(vmlinux, {"skb_drop_reason": {}}, {})


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ([], NAMES),
        (["auto"], NAMES),
        (["auto", "dev"], NAMES),
        (["dev"], ["dev"]),
        (["ns", "skb", "ns"], ["skb", "ns"]),
        (NAMES[::-1], NAMES),
    ],
)
def test_choice(types: Types, asked: list[str], chosen: list[str]) -> None:
    assert names(choose_collectors(asked, OPTIONS, Host(), types)) == chosen


def test_names() -> None:
    assert [make_collector(name, OPTIONS).name for name in COLLECTOR_NAMES] == [*COLLECTOR_NAMES]
    assert names(COLLECTORS) == [*COLLECTOR_NAMES]


def test_auto_skips_what_cannot_run(without_reasons: Types) -> None:
    rest = [name for name in NAMES if name != "skb-drop"]
    assert names(choose_collectors([], OPTIONS, Host(), without_reasons)) == rest
    assert names(choose_collectors(["auto", "dev"], OPTIONS, Host(), without_reasons)) == rest


@pytest.mark.parametrize("asked", [["skb-drop"], ["skb", "skb-drop"], ["auto", "skb-drop"]])
def test_a_named_one_that_cannot_run_is_an_error(without_reasons: Types, asked: list[str]) -> None:
    with pytest.raises(MissingPrerequisite, match="collector skb-drop: this kernel gives no drop"):
        choose_collectors(asked, OPTIONS, Host(), without_reasons)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("skb_drop", "unknown collector 'skb_drop': did you mean skb-drop?"),
        ("devs", "unknown collector 'devs': did you mean dev?"),
        ("xyzzy", "unknown collector 'xyzzy': there are skb-tracking, skb-drop, skb, dev, ns"),
        ("", "unknown collector ''"),
    ],
)
def test_unknown(types: Types, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        choose_collectors(["skb", name], OPTIONS, Host(), types)


@pytest.mark.parametrize("collector", COLLECTORS, ids=lambda c: c.name)
def test_collectors_are_complete(collector: Collector, types: Types) -> None:
    assert collector.summary
    assert collector.feeds <= FED_FIELDS.keys()
    for hook in collector.hooks:
        function = f"hook_{hook.replace('/', '_')}(struct retis_context"
        assert function in (bpf_dir() / f"hooks/{hook}.c").read_text()
    for part in collector.parts(types):
        assert part.section in Event.__struct_fields__
        values = struct.unpack("=" + part.wire.format, b"\1" * part.wire.size)
        assert part.build(*values) is not None


def test_parts_have_names_of_their_own(types: Types) -> None:
    wires = [part.wire.name for c in COLLECTORS for part in c.parts(types)]
    assert len(set(wires)) == len(wires)
    assert len(wires) <= 32  # bits of the bitmap
    defines = [set(c.defines(types)) for c in COLLECTORS]
    assert not any(a & b for a, b in itertools.combinations(defines, 2))


def test_everything_fits_into_the_buffer(types: Types) -> None:
    """PARTS_END of bpf/core/event.h: a part that does not fit would be left out in silence."""
    (end,) = re.findall(r"#define PARTS_END (\d+)", (bpf_dir() / "core/event.h").read_text())
    parts = sum(part.wire.size for c in COLLECTORS for part in c.parts(types))
    assert HEADER.size + parts <= int(end)
