"""The verdicts that the collector ``nft`` is asked for (``--nft-verdicts``).

Apart from the collector, which is imported only where it is used.
"""

from collections.abc import Iterable

from retis_py.errors import UsageError
from retis_py.events.sections import nft

NFT_VERDICTS = tuple(nft.VERDICTS.values())
DEFAULT_NFT_VERDICTS = ("drop", "accept")

_LOWEST_CODE = min(nft.VERDICTS)
_ALL = (1 << 16) - 1


def parse_nft_verdicts(names: Iterable[str]) -> int:
    """Return the bitmap of the verdicts named, for the program; ``all`` stands for all of them.

    Raises:
        UsageError: a name is unknown.
    """
    codes = {name: code for code, name in nft.VERDICTS.items()}
    found = 0
    for name in names:
        if name == "all":
            found |= _ALL
        elif name in codes:
            found |= 1 << (codes[name] - _LOWEST_CODE)
        else:
            known = ", ".join(("all", *codes))
            raise UsageError(f"--nft-verdicts: unknown verdict '{name}', use {known}")
    return found
