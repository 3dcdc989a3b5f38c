"""Section ``nft``: a step of the nf_tables evaluation."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import I64, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Nft(Section):
    """Where in the ruleset, and what came of it (struct nft_traceinfo)."""

    table_name: str
    table_handle: I64
    chain_name: str
    chain_handle: I64
    verdict: str  # "accept", "drop", "jump", ...
    policy: bool  # the verdict is the chain's policy, no rule's
    rule_handle: I64 | None = None
    verdict_chain_name: str | None = None  # where a jump or goto leads

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``table T (H) chain C (H) [handle H] VERDICT [(policy)] [chain C]``."""
        parts = [
            f"table {escape(self.table_name)} ({self.table_handle})",
            f"chain {escape(self.chain_name)} ({self.chain_handle})",
        ]
        if self.rule_handle is not None:
            parts.append(f"handle {self.rule_handle}")
        parts.append(escape(self.verdict))
        if self.policy:
            parts.append("(policy)")
        if self.verdict_chain_name is not None:
            parts.append(f"chain {escape(self.verdict_chain_name)}")
        return " ".join(parts)
