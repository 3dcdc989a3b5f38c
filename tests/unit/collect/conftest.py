import pytest

from lab.capabilities import require
from retis_py.collect.compiled import Compiled
from retis_py.collect.plan import Plan, PlanOptions, make_plan
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from unit.collect.running import compile_text


@pytest.fixture(scope="session")
def types() -> Types:
    """This kernel's types."""
    require("btf")
    return Types(Btf.vmlinux())


@pytest.fixture(scope="session")
def full_plan() -> Plan:
    """Every collector and section, on the default probes."""
    require("btf")
    options = CollectorOptions(frozenset(SkbPart), 255)
    return make_plan(PlanOptions(collector_options=options, stack=True), Host(), None)


@pytest.fixture(scope="session")
def full_program(full_plan: Plan) -> Compiled:
    require("root")
    return compile_text(full_plan.program.text, full_plan.program.functions)
