"""Expressions that are none: one line that says where and why, and nothing odd on the terminal."""

# ruff: noqa: E501 (a message is a line)

import pytest

from retis_py.errors import UsageError
from retis_py.expressions import MAX_LENGTH, MAX_TERMS
from retis_py.process.where import compile_where
from retis_py.process.where_grammar import MAX_DEPTH


def refused(expression: str) -> str:
    with pytest.raises(UsageError) as caught:
        compile_where(expression)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.startswith("--where: ")
    assert message.isprintable()
    return message.removeprefix("--where: ")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "column 1: expected a field, 'not' or '(', found the end"),
        ("   ", "column 1: expected a field, 'not' or '(', found the end"),
        ("dev.", "column 5: expected a field's name, found the end"),
        ("dev.1", "column 5: expected a field's name, found '1'"),
        ("dev and", "column 8: expected a field, 'not' or '(', found the end"),
        ("and dev", "column 1: expected a field, 'not' or '(', found 'and'"),
        ("dev dev", "column 5: expected 'and', 'or' or the end, found 'dev'"),
        ("dev AND skb", "column 5: expected 'and', 'or' or the end, found 'AND' (did you mean 'and'?)"),
        ("(dev", "column 5: expected 'and', 'or' or ')', found the end"),
        ("dev)", "column 4: expected 'and', 'or' or the end, found ')'"),
        ("()", "column 2: expected a field, 'not' or '(', found ')'"),
        ("not", "column 4: expected a field, 'not' or '(', found the end"),
        ("dev & skb", "column 5: '&' means nothing here: did you mean '&&'?"),
        ("dev.ifindex = 1", "column 13: '=' means nothing here: did you mean '=='?"),
        ('dev.name =~ "a"', "column 10: '=~' means nothing here: did you mean '~'?"),
        ("dev.ifindex ==", "column 15: expected a number, a string in quotes, true or false, found the end"),
        ("dev.name == eth0", "column 13: expected a value, found 'eth0' (strings stand in quotes)"),
        ("nft.policy == True", "column 15: expected a number, a string in quotes, true or false, found 'True' (did you mean 'true'?)"),
        ('dev.name == "eth0', 'column 13: the string that begins here is not closed: expected "'),
        ("dev.ifindex == 1x", "column 16: '1x' is no number: expected 10, 0xa or 0b1010"),
        ("dev.ifindex == 0x", "column 16: '0x' is no number: expected 10, 0xa or 0b1010"),
        ("dev.ifindex == 1_0", "column 16: '1_0' is no number: expected 10, 0xa or 0b1010"),
        ("dev.ifindex == -0x1", "column 17: expected a number in base 10 behind '-', found '0x1'"),
        ("dev.ifindex == 1.5", "column 17: expected 'and', 'or' or the end, found '.'"),
        ("dev.ifindex == " + "9" * 200, "column 16: a number has at most 128 digits"),
        ("dev.ifindex in 1", "column 16: expected '(' and values, as in 'in (1, 2)', found '1'"),
        ("dev.ifindex in ()", "column 17: expected a number, a string in quotes, true or false, found ')'"),
        ("dev.ifindex in (1 2)", "column 19: expected ',' or ')', found '2'"),
        ("dev.ifindex not 1", "column 17: expected 'in' behind 'not', found '1'"),
        ("1 == dev.ifindex", "column 1: expected a field, found '1' (fields stand on the left, as in 'dev.name == \"eth0\"' and 'kernel.symbol ~ \"tcp_*\"')"),
        ('"tcp" in kernel.symbol', "column 1: expected a field, found '\"tcp\"' (fields stand on the left, as in 'dev.name == \"eth0\"' and 'kernel.symbol ~ \"tcp_*\"')"),
        ("dev.name == dev.name", "column 13: expected a value, found 'dev' (strings stand in quotes)"),
        ("1 < dev.ifindex < 3", "column 1: expected a field, found '1' (fields stand on the left, as in 'dev.name == \"eth0\"' and 'kernel.symbol ~ \"tcp_*\"')"),
        ("dev.ifindex < 3 < 4", "column 17: expected 'and', 'or' or the end, found '<'"),
        ("dev; import os", "column 4: ';' means nothing here"),
        ("dév", "column 2: 'é' means nothing here"),
    ],
)  # fmt: skip
def test_syntax(expression: str, message: str) -> None:
    assert refused(expression) == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("devv", "column 1: events have no section 'devv', did you mean 'dev'? there are common, kernel, userspace, tracking, skb-tracking, skb-drop, packet, skb, netns, dev, ovs, ovs-detrace, nft, ct, startup"),
        ("dev.nam", "column 5: 'dev' has no field 'nam', did you mean 'name'? it has name, ifindex, rx_ifindex"),
        ("dev.zzz", "column 5: 'dev' has no field 'zzz': it has name, ifindex, rx_ifindex"),
        ("dev.name.x", "column 10: 'dev.name' is a string and has no fields"),
        ("dev.__class__", "column 5: 'dev' has no field '__class__': it has name, ifindex, rx_ifindex"),
        ("dev.text", "column 5: 'dev' has no field 'text': it has name, ifindex, rx_ifindex"),
        ('dev == "eth0"', "column 1: 'dev' is a group of fields and cannot be compared: go on to one of name, ifindex, rx_ifindex"),
        ('ct.orig.ip == "1.2.3.4"', "column 9: 'ct.orig.ip' is a group of fields and cannot be compared: go on to one of src, dst, version"),
        ('packet.data == "x"', "column 8: 'packet.data' is bytes and cannot be compared: use -f"),
        ('dev.ifindex == "1"', "column 16: 'dev.ifindex' is a number: expected a number, found the string '1'"),
        ("dev.ifindex == true", "column 16: 'dev.ifindex' is a number: expected a number, found true"),
        ("dev.ifindex in (1, 'a')", "column 20: 'dev.ifindex' is a number: expected a number, found the string 'a'"),
        ("dev.name == 3", "column 13: 'dev.name' is a string: expected a string in quotes, found '3'"),
        ('dev.name < "b"', "column 10: 'dev.name' is a string and cannot be compared with '<', only with == != ~ !~ in not in"),
        ('dev.ifindex ~ "1*"', "column 13: 'dev.ifindex' is a number and cannot be compared with '~', only with == != < <= > >= in not in"),
        ("nft.policy == 1", "column 15: 'nft.policy' is true or false: expected true or false, found '1'"),
        ("nft.policy < true", "column 12: 'nft.policy' is true or false and cannot be compared with '<', only with == !="),
        ("dev.ifindex == -1", "column 16: 'dev.ifindex' is from 0 to 4294967295, never '-1'"),
        ("ct.mark == 0x100000000", "column 12: 'ct.mark' is from 0 to 4294967295, never '4294967296'"),
        ("common.timestamp > 18446744073709551616", "column 20: 'common.timestamp' is from 0 to 18446744073709551615, never '18446744073709551616'"),
        ('ct.state == "ESTABLISHED"', "column 13: 'ct.state' is never 'ESTABLISHED', did you mean 'established'? it is one of established, related, new, reply, related_reply, untracked"),
        ('ovs.event_type == "x"', "column 19: 'ovs.event_type' is never 'x': it is one of upcall, upcall_enqueue, upcall_return, recv_upcall, flow_operation, action_execute, flow_lookup"),
        ('kernel.stack_trace != "a"', "column 20: 'kernel.stack_trace' is a list of strings, any of which may match: put 'not' before the comparison instead of '!='"),
        ('kernel.stack_trace < "a"', "column 20: 'kernel.stack_trace' is a list of strings and cannot be compared with '<', only with == ~ in"),
        ('skb-tracking.tracking_id == "#xyz"', "column 29: 'skb-tracking.tracking_id' is a tracking id: expected a number or an id as printed, like \"#2fa1a142108ffff88819d692000\", found the string '#xyz'"),
        (f'skb-tracking.tracking_id == "{"f" * 33}"', f"column 29: 'skb-tracking.tracking_id' is a tracking id: expected a number or an id as printed, like \"#2fa1a142108ffff88819d692000\", found the string '{'f' * 33}'"),
        ('ovs.ufid == "1"', "column 13: 'ovs.ufid' is a flow id: expected a flow id in quotes, like \"00000001-0000-0002-0000-000300000004\", found the string '1'"),
    ],
)  # fmt: skip
def test_fields_and_values(expression: str, message: str) -> None:
    assert refused(expression) == message


@pytest.mark.parametrize(
    "odd", ["\x1b[31m", "\u202e", "\n\n", "\0", "\x9b", "\u2028", "\udc80", "\x7f", "😀\x07" * 90]
)
def test_odd_characters_do_not_reach_the_terminal(odd: str) -> None:
    for expression in (
        odd,
        f"dev{odd}",
        f"dev.ifindex == '{odd}'",
        f"ct.state == '{odd}'",
        f"ovs.ufid == '{odd}'",
        f"'{odd}'",
        f"dev.ifindex == {odd}1",
    ):
        if odd.isspace() and expression.strip(" \n") in ("dev", "dev.ifindex == \n\n1"):
            continue  # white space is allowed there
        assert len(refused(expression)) < 500


def test_length() -> None:
    spaces = " " * (MAX_LENGTH - 3)
    compile_where(f"dev{spaces}")
    message = "the expression has 4,097 characters, at most 4,096 are possible: shorten it"
    assert refused(f"dev {spaces}") == message


def test_depth() -> None:
    compile_where("(" * MAX_DEPTH + "dev" + ")" * MAX_DEPTH)
    compile_where("not " * MAX_DEPTH + "dev")
    message = f"more than {MAX_DEPTH} parentheses and negations inside one another"
    assert refused("(" * (MAX_DEPTH + 1) + "dev") == f"column 33: {message}"
    assert refused("!" * (MAX_DEPTH + 1) + "dev") == f"column 33: {message}"
    assert refused("!(" * MAX_DEPTH + "dev") == f"column 33: {message}"


def test_terms() -> None:
    compile_where(" and ".join(["dev"] * MAX_TERMS))
    joined = " or ".join(["dev"] * (MAX_TERMS + 1))
    assert refused(joined) == f"column {64 * 7 + 1}: more than 64 comparisons: use fewer"


def test_a_long_list() -> None:
    where = compile_where(f"dev.ifindex in ({', '.join(map(str, range(800)))})")
    assert where.sections == {"dev"}


def test_deepest_and_widest() -> None:
    """The limits leave room in Python's own parser and stack."""
    term = "ct.parent.orig.proto.tcp.dport!=1"
    wide = "||".join([term] * MAX_TERMS)
    compile_where("!(" * (MAX_DEPTH // 2) + wide + ")" * (MAX_DEPTH // 2))
    nested = "".join(f"{'(dev and ' if i % 2 else '(dev or '}" for i in range(MAX_DEPTH))
    compile_where(f"{nested}dev{')' * MAX_DEPTH}")
