"""``--nft-rules``: an option of the commands that show the events of a file."""

import logging
from collections.abc import Iterable

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


def stored_nft_rules(files: Iterable[EventFile]) -> NftRules | None:
    """Return the rules of the first file that holds any; a warning says what is missing.

    No file after that one is asked for.
    """
    names = []
    for file in files:
        rules = file.startup.nft_rules
        if rules is not None:
            if rules.cut:
                log.warning("%s holds only the first of its nftables rules as text", file.name)
            return rules
        names.append(file.name)
    log.warning(
        "%s: no nftables rules are stored in it, so none are shown; 'retis collect' stores them"
        " with -o, the collector nft and the command nft",
        names[0],
    )
    return None
