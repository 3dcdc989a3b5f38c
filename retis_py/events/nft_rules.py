"""The text of the rule that an ``nft`` section names by its handle.

The rules are in the file's startup section, as they were when the collection began, of the network
namespace that ``retis collect`` ran in. Handles are counted for each namespace and table and are
not used again, so that a rule that was added later has no text here, and never another's.
"""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.nft import Nft
from retis_py.events.sections.startup import NftRules

if TYPE_CHECKING:
    from retis_py.events.event import Event

_POLICY = "policy"  # in place of a handle, as NftTable says


def rule_text(rules: NftRules | None, nft: Nft, netns: int | None = None) -> str | None:
    """Return the text of the section's rule, or of the chain whose policy it is; None if unknown.

    ``netns`` is the inum of the event's network namespace, where it is known: the rules of another
    one are not taken for it. The text is escaped, on one line.
    """
    if rules is None or (netns is not None and netns != rules.netns):
        return None
    key = _POLICY if nft.policy else str(nft.rule_handle)
    for table in rules.tables:
        if table.handle == nft.table_handle and table.name == nft.table_name:
            text = table.chains.get(nft.chain_name, {}).get(key)
            return None if text is None else escape(text)
    return None


def nft_rule_line(rules: NftRules | None, event: "Event") -> str | None:
    """Return the line to show under an event, without indentation; None where there is none."""
    if event.nft is None:
        return None
    text = rule_text(rules, event.nft, event.netns.inum if event.netns else None)
    return None if text is None else f"rule: {text}"
