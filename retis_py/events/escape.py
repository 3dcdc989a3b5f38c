"""Strings from kernels, packets and files made safe for a terminal."""

import unicodedata

# Cc: C0, C1, DEL. Cf: bidi overrides and other invisible formatting. Cs: lone surrogates, which
# cannot be encoded. Zl, Zp: line breaks to some programs.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escape(text: str) -> str:
    r"""Return ``text`` on one line, with control and formatting characters as ``\x1b``, ``\u202e``.

    Everything else stays as it is, backslashes included.
    """
    if text.isprintable():
        return text
    return "".join(
        _escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in text
    )


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
