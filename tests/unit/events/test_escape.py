import sys
import unicodedata

import pytest

from retis_py.events.escape import escape


@pytest.mark.parametrize(
    "name",
    ["", "eth0", "a b", "Ünï", "网卡", "😀", "e\u0301", "back\\slash \\x1b", "a\u3000b\u00a0c"],
)
def test_ordinary_text_stays(name: str) -> None:
    assert escape(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc\0", "a\\x0ab\\x0d\\x09c\\x00"),
        ("\x7f\x85\x9b2J", "\\x7f\\x85\\x9b2J"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("\u2066\u2069\u200b\ufeff", "\\u2066\\u2069\\u200b\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
        ("Ü\x1b😀", "Ü\\x1b😀"),
    ],
)
def test_what_a_terminal_would_act_upon(name: str, shown: str) -> None:
    assert escape(name) == shown


def test_no_character_of_a_dangerous_category_passes() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = escape(everything)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert escape(shown) == shown
    shown.encode()
