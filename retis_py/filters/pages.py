"""Where the kernel sees the pages that packets lie in, for bpf/core/filter.h.

A fragment names its page by the address of its ``struct page``. On x86-64 these form one array,
at ``vmemmap_base``, and all memory is mapped in the same order at ``page_offset_base``
(arch/x86/include/asm/page_64.h, pgtable_64.h). Elsewhere the pages cannot be read.
"""

import platform
import re
from pathlib import Path

from retis_py.kernel.btf import Btf, Kind

_VARIABLE = rb"^([0-9a-f]{16}) [A-Za-z] (page_offset_base|vmemmap_base)$"


def page_macros(
    btf: Btf, kallsyms: Path = Path("/proc/kallsyms"), machine: str | None = None
) -> dict[str, str]:
    """Return what filter.h needs to find a page, empty where that cannot be known.

    Not on other machines than x86-64; not where kallsyms lacks variables (no
    CONFIG_KALLSYMS_ALL) or hides addresses.
    """
    page = btf.find("page", Kind.STRUCT)
    if (machine or platform.machine()) != "x86_64" or page is None:
        return {}
    found = re.findall(_VARIABLE, kallsyms.read_bytes(), re.MULTILINE)
    addresses = {name.decode(): int(address, 16) for address, name in found}
    if len(addresses) != 2 or not all(addresses.values()):
        return {}
    return {
        "DIRECT_MAP": f"READ(*(u64 *){addresses['page_offset_base']:#x}ULL)",
        "PAGE_STRUCTS": f"READ(*(u64 *){addresses['vmemmap_base']:#x}ULL)",
        "PAGE_STRUCT_SIZE": str(btf.size(page)),
    }
