import pytest

from lab.capabilities import require
from retis_py.kernel.btf import Btf


@pytest.fixture(scope="session")
def vmlinux() -> Btf:
    """This kernel's types."""
    require("btf")
    return Btf.vmlinux()
