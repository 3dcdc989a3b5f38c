"""Profile files: what they may hold, and each refusal."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.errors import ProfileError
from retis_py.profiles import Section, read_profiles, yaml_tree
from retis_py.resources import profiles_dir
from unit.profiles.made_up import HEAD, read


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ProfileError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path / "file.yaml"))
    assert caught.value.exit_code == 2
    return message.removeprefix(str(tmp_path / "file.yaml"))


def test_all_keys(tmp_path: Path) -> None:
    (profile,) = read(
        tmp_path,
        HEAD
        + """
collect:
  - name: first
    when:
      - type: version
        version: ">6.2"
      - {type: symbol, name: ip_rcv, exists: false}
    args:
      probe:
        - kprobe:ip_rcv
        - tp:net:netif_rx
      stack: ~
      snaplen: 0x10
      filter_packet: "null"
pcap:
  - args:
      probe: tp:net:netif_rx
""",
    )
    assert (profile.name, profile.about) == ("p", "text")
    (variant,) = profile.sections[Section.COLLECT]
    assert variant.name == "first"
    assert [str(condition) for condition in variant.when] == [
        "kernel version >6.2",
        "symbol ip_rcv absent",
    ]
    assert [(a.name, a.values, a.is_flag) for a in variant.arguments] == [
        ("probe", ("kprobe:ip_rcv", "tp:net:netif_rx"), False),
        ("stack", (), True),
        ("snaplen", ("0x10",), False),  # as written, not as 16
        ("filter_packet", ("null",), False),  # quoted: a text
    ]
    assert profile.sections[Section.PCAP][0].when == ()


def test_several_documents_and_empty_ones(tmp_path: Path) -> None:
    text = "---\n" + HEAD + "---\n---\n" + HEAD.replace("name: p", "name: q")
    assert [profile.name for profile in read(tmp_path, text)] == ["p", "q"]


def test_aliases_within_reason(tmp_path: Path) -> None:
    (profile,) = read(
        tmp_path, HEAD + "collect: [{args: {probe: &p [a, b]}}]\npcap: [{args: {probe: *p}}]\n"
    )
    assert profile.sections[Section.PCAP][0].arguments[0].values == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty: a profile was expected"),
        ("---\n---\n", ": the file is empty: a profile was expected"),
        ("text", ":1: a profile must be a mapping, not a text"),
        ("[a]", ":1: a profile must be a mapping, not a list"),
        ("name: p", ":1: 'version' is missing"),
        ("version: 1.0", ":1: 'name' is missing"),
        ("version: 1.0\nname: ~", ":2: 'name' must be a text, not nothing"),
        ("version: 1.0\nname: ''", ":2: 'name' must be a text, not empty"),
        ("version: 2.0\nname: p", ":1: 'version' is 2.0: only profiles of version 1.0 are known"),
        (HEAD + "colect: []", ":4: unknown key 'colect' in a profile (did you mean 'collect'?)"),
        (
            HEAD + "zzz: 1",
            ":4: unknown key 'zzz' in a profile: known are about, collect, name, pcap, version",
        ),
        (HEAD + "name: q", ":4: key 'name' is given twice"),
        (HEAD + "collect: {args: {}}", ":4: 'collect' must be a list, not a mapping"),
        (HEAD + "collect:", ":4: 'collect' must be a list, not nothing"),
        (HEAD + "collect:\n  - a", ":5: 'collect[0]' must be a mapping, not a text"),
        (HEAD + "collect:\n  - name: x", ":5: 'collect[0].args' is missing"),
        (
            HEAD + "collect:\n  - args: [a]",
            ":5: 'collect[0].args' must be a mapping, not a list",
        ),
        (
            HEAD + "collect:\n  - arg: {}\n    args: {}",
            ":5: unknown key 'arg' in 'collect[0]' (did you mean 'args'?)",
        ),
        (
            HEAD + "collect:\n  - args: {}\n  - args:\n      probe: {a: b}",
            ":7: 'collect[1].args.probe' must be a list, not a mapping",
        ),
        (
            HEAD + "collect:\n  - args:\n      probe:\n        - a\n        - [b]",
            ":8: 'collect[0].args.probe[1]' must be a text, not a list",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: {type: symbol}",
            ":6: 'pcap[0].when' must be a list, not a mapping",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: kernel}]",
            ":6: 'pcap[0].when[0].type' is 'kernel', not 'version' or 'symbol'",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: symbol}]",
            ":6: 'pcap[0].when[0].name' is missing",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: symbol, name: a, exists: no}]",
            ":6: 'pcap[0].when[0].exists' must be true or false",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: symbol, name: a, version: 1}]",
            ":6: unknown key 'version' in 'pcap[0].when[0]': known are exists, name, type",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: version, version: new}]",
            ":6: 'pcap[0].when[0].version': 'new' is no version comparison such as '>=5.14'",
        ),
        (
            HEAD + "pcap:\n  - args: {}\n    when: [{type: version, version: '>6-1'}]",
            ":6: 'pcap[0].when[0].version': '>6-1' needs three numbers before the '-'",
        ),
        ("a: &a [*a]", ":1: alias '*a' refers to itself or to nothing"),
        ("a: [&a b, " + "*a, " * 101 + "]", ":1: more than 100 aliases"),
        ("- " * 9 + "a", ":1: nested deeper than 8 levels"),
        ("[" * 500_000, ":1: nested deeper than 8 levels"),
        ("[" + "a," * 10_001 + "]", ":1: more than 10000 values"),
        ("a: !!python/object/apply:os.getcwd []", ":1: tags are not supported"),
        ("a: 'x", ":1: not YAML: found unexpected end of stream"),
        ("a\n  b: c: d", ":2: not YAML: mapping values are not allowed"),
        ("[a]: b", ":1: a key must be a text"),
        (b"a: \xff", ":1: not UTF-8 text"),
        (b"a: b\n\x00", ": not YAML: control characters are not allowed"),
        (b"a" * ((1 << 20) + 1), ": larger than 1 MiB"),
    ],
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_refusals(
    tmp_path: Path, text: str | bytes, message: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_tree, "Loader", getattr(yaml, loader))
    if loader == "CSafeLoader":
        assert message.removeprefix(": ") in refusal(tmp_path, text)
    else:  # words its syntax errors otherwise
        assert message.partition(": not YAML")[0].lstrip(": ") in refusal(tmp_path, text)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "missing.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "embedded null byte"),
    ]:
        with pytest.raises(ProfileError, match=f"cannot read the profile: {reason}"):
            read_profiles(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 50))
def test_damaged_files_are_one_line_errors(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int, cut: int
) -> None:
    good = (profiles_dir() / "generic.yaml").read_bytes()
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(good[:at] + junk + good[at + cut :])
    try:
        assert read_profiles(path)
    except ProfileError as error:
        assert str(error).startswith(str(path))
