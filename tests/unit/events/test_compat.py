from typing import Any

import pytest

from retis_py.events.compat import Version, parse_version, upgrade

V1_5 = Version(1, 5, 0)
V1_6 = Version(1, 6, 1)
V1_7 = Version(1, 7, 0)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.7.0", (1, 7, 0)),
        ("1.6.1", (1, 6, 1)),
        ("v1.7.0-dev", (1, 7, 0)),
        ("v1.7.0+retis-py.0.1.0", (1, 7, 0)),
        ("v1.5.2-12-gabcdef+dirty", (1, 5, 2)),
        ("v10.20.30", (10, 20, 30)),
    ],
)
def test_versions(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    "text",
    ["", "v", "v1.7", "1.7.x", "v1.7.0.1", "version 1.7.0", "v1.7.0 ", "v1.\u0667.0", "vv1.7.0"],
)
def test_no_versions(text: str) -> None:
    assert parse_version(text) is None


def upgraded(event: dict[str, Any], version: Version) -> dict[str, Any]:
    upgrade(event, version)
    return event


def test_parent_connections_are_completed_too() -> None:
    """The reference refuses these."""
    event = {"ct": {"tcp_state": "SYN_SENT", "parent": {"tcp_state": "ESTABLISHED"}}}
    assert upgraded(event, V1_5) == {
        "ct": {
            "proto_state": "SYN_SENT",
            "ct_status": 0,
            "parent": {"proto_state": "ESTABLISHED", "ct_status": 0},
        }
    }


def test_the_new_form_counts_where_both_are_there() -> None:
    """The reference refuses these."""
    event = {
        "dev": {"name": "new"},
        "skb": {"dev": {"name": "old"}},
        "ct": {"proto_state": "new", "tcp_state": "old", "ct_status": 5},
        "startup": {"cmdline": "retis collect"},
    }
    result = upgraded(event, V1_5)
    assert result["dev"] == {"name": "new"}
    assert result["ct"] == {"proto_state": "new", "ct_status": 5}
    assert result["startup"]["cmdline"] == "retis collect"
    assert result["startup"]["machine"]["kernel_release"] == "unknown"


def test_a_release_is_only_changed_from_its_own_form_on() -> None:
    event = {"skb": {"dev": {"name": "old"}}, "ct": {"tcp_state": "old"}}
    assert upgraded(event, V1_6) == {"skb": {"dev": {"name": "old"}}, "ct": {"proto_state": "old"}}
    event = {"skb": {"dev": {"name": "old"}}, "ct": {"tcp_state": "old"}, "startup": {}}
    assert upgraded(event, V1_7) == event


@pytest.mark.parametrize("odd", [None, 5, "x", [], [{}], {}])
@pytest.mark.parametrize("section", ["skb", "packet", "netns", "ct", "startup"])
def test_odd_types_are_left_for_the_decoding(section: str, odd: Any) -> None:
    upgrade({section: odd}, V1_5)
    upgrade({section: dict.fromkeys(("packet", "ns", "dev", "netns", "parent"), odd)}, V1_5)
