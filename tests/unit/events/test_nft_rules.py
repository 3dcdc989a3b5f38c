"""Rules by handle."""

import msgspec
import pytest

from retis_py.events.event import Event, decode, encode
from retis_py.events.nft_rules import nft_rule_line, rule_text
from retis_py.events.sections.common import Common
from retis_py.events.sections.netns import Netns
from retis_py.events.sections.nft import Nft
from retis_py.events.sections.startup import Machine, NftRules, NftTable, Startup, TimeSpec

CHAINS = {"c": {"policy": "type filter; policy drop;", "4": "udp dport 7 drop", "5": "a\x1b\nb"}}
RULES = NftRules([NftTable("ip", "t", 1, {}), NftTable("inet", "t", 2, CHAINS)], netns=77)
STARTUP = Startup("v1.7.0", "retis", TimeSpec(0, 0), Machine("a", "b", "c"), nft_rules=RULES)
NFT = Nft("t", 2, "c", 9, "drop", policy=False, rule_handle=4)


def changed(**fields: object) -> Nft:
    return msgspec.structs.replace(NFT, **fields)


@pytest.mark.parametrize(
    ("nft", "text"),
    [
        (NFT, "udp dport 7 drop"),
        (changed(rule_handle=5), "a\\x1b\\x0ab"),
        (changed(rule_handle=None, policy=True), "type filter; policy drop;"),
        (changed(rule_handle=None), None),
        (changed(rule_handle=6), None),
        (changed(chain_name="d"), None),
        (changed(table_handle=1), None),
        (changed(table_handle=3), None),
        (changed(table_name="u"), None),
    ],
)
def test_rule_text(nft: Nft, text: str | None) -> None:
    assert rule_text(RULES, nft) == text
    assert rule_text(RULES, nft, 77) == text


def test_rules_of_another_namespace() -> None:
    assert rule_text(RULES, NFT, 78) is None


def test_no_rules() -> None:
    assert rule_text(None, NFT) is None


def test_line() -> None:
    event = Event(Common(1), nft=NFT, netns=Netns(77))
    assert nft_rule_line(RULES, event) == "rule: udp dport 7 drop"
    event.netns = Netns(78)
    assert nft_rule_line(RULES, event) is None
    assert nft_rule_line(RULES, Event(Common(1))) is None


def test_through_the_file() -> None:
    line = encode(Event(Common(1), startup=STARTUP))
    assert b'"nft_rules":{"tables":[{"family":"ip"' in line
    assert b'"cut"' not in line
    assert decode(line).startup == STARTUP
    assert "udp" not in str(decode(line))
