"""``--nft-rules``: an option of the commands that show the events of a file."""

import logging
from collections.abc import Sequence

import click

from retis_py.events.jsonl import EventFile
from retis_py.events.sections.startup import NftRules

log = logging.getLogger(__name__)

nft_rules_option = click.option(
    "--nft-rules",
    is_flag=True,
    help="Show the nftables rule that an event names, as text. 'retis collect -c nft -o' stores "
    "the rules.",
)


def stored_nft_rules(files: Sequence[EventFile]) -> NftRules | None:
    """Return the rules of the first file that holds any; a warning says what is missing."""
    for file in files:
        if (rules := file.startup.nft_rules) is not None:
            if rules.cut:
                log.warning("%s holds only the first of its nftables rules as text", file.name)
            return rules
    log.warning(
        "%s: no nftables rules are stored in it, so none are shown; 'retis collect' stores them"
        " with -o, the collector nft and the command nft",
        files[0].name,
    )
    return None
