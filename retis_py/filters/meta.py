"""Metadata filters: an expression over ``sk_buff`` and what it points to -> C.

``sk_buff.dev.name == "eth0" && sk_buff.mark:0xff == 0x2a``: the grammar is in meta_grammar.py,
what members can be compared and with what in meta_types.py and meta_values.py.

What is not obvious of its meaning:

- A value that cannot be read (a NULL pointer on the way, a bad address) makes its comparison
  false, with ``!=`` too.
- ``&&`` and ``||`` bind equally, from left to right, and stop as soon as the result is known.
- Numbers are as the kernel stores them: ``sk_buff.protocol`` is in network byte order.
- Signed members are compared signed, unless masked: a mask takes bits, and those are unsigned.
- A string is compared up to its NUL, or as far as its array goes.
"""

from collections.abc import Sequence

from retis_py.filters.meta_grammar import ALL_BITS, Chain, Joiner, Term, parse
from retis_py.filters.meta_types import Hop, Place, locate
from retis_py.filters.meta_values import NumberTest, TextTest, check_value
from retis_py.kernel.btf import Btf

_WORD_SIZE = 8  # bytes

# All reads go through one piece of the stack, however many comparisons there are.
_READ = """
/* Reads up to 8 bytes as a number. */
static bool meta_read(struct meta_scratch *s, u64 address, u32 size)
{
	s->number = 0;
	return bpf_probe_read_kernel(&s->number, size, (void *)address) == 0;
}
"""


def compile_meta_filter(expression: str, btfs: Sequence[Btf]) -> str:
    """Compile an expression to C: ``static bool meta_filter(struct sk_buff *skb)``.

    The text wants the types ``u32``, ``u64``, ``s64`` and ``bool``; all other names it defines
    begin with ``meta_``. ``btfs`` are asked for types in their order, later ones only for what
    the earlier ones lack.

    Raises:
        UsageError: the expression is none, or this kernel has no such member.
    """
    tree = parse(expression)
    terms = _Terms(btfs)
    condition = terms.condition(tree)
    return f"{_scratch(terms)}{''.join(terms.functions)}{_filter(condition)}"


def _scratch(terms: "_Terms") -> str:
    text = f"\tu64 text[{terms.words}];\n" if terms.words else ""
    return f"struct meta_scratch {{\n\tu64 number;\n{text}}};\n{_READ if terms.reads else ''}"


def _filter(condition: str) -> str:
    return f"""
static bool meta_filter(struct sk_buff *skb)
{{
	struct meta_scratch scratch, *s = &scratch;
	u64 address = (u64)skb;

	return {condition};
}}
"""


class _Terms:
    """One function for each comparison, collected as the tree is walked."""

    def __init__(self, btfs: Sequence[Btf]) -> None:
        self._btfs = btfs
        self.functions: list[str] = []
        self.words = 0  # that the longest string needs
        self.reads = False  # whether anything but a string is read

    def condition(self, node: Term | Chain) -> str:
        """Write the tree in C, with the parentheses that C's precedence asks for."""
        if isinstance(node, Term):
            return self._call(node)
        text = self._operand(node.first)
        before: Joiner | None = None
        for joiner, operand in node.rest:
            if before not in (None, joiner):
                text = f"({text})"
            text += f"\n\t\t{joiner} {self._operand(operand)}"
            before = joiner
        return text

    def _operand(self, node: Term | Chain) -> str:
        text = self.condition(node)
        return f"({text})" if isinstance(node, Chain) else text

    def _call(self, term: Term) -> str:
        place = locate(term, self._btfs)
        test = check_value(term, place)
        name = f"meta_term_{len(self.functions) + 1}"
        lines = [line for hop in place.hops for line in _hop(hop)]
        if isinstance(test, TextTest):
            self.words = max(self.words, _word_count(test))
            lines += _text_lines(place, test)
        else:
            lines += _number_lines(place, test)
        self.reads |= any("meta_read" in line for line in lines)
        body = "".join(f"\t{line}\n" for line in lines)
        self.functions.append(
            f"\n/* {_comment(term.text)} */\n"
            f"static bool {name}(struct meta_scratch *s, u64 address)\n{{\n{body}}}\n"
        )
        return f"{name}(s, address)"


def _comment(text: str) -> str:
    plain = text.encode("unicode_escape").decode()
    return plain.replace("*/", "*'/").replace("/*", "/'*")


def _hop(hop: Hop) -> list[str]:
    masked = "" if hop.mask == ALL_BITS else f" & {hop.mask:#x}ULL"
    return [
        f"if (!meta_read(s, address + {hop.offset}, {_WORD_SIZE}))",
        "\treturn false;",
        f"address = s->number{masked};",
        "if (!address)",
        "\treturn false;",
    ]


def _number_lines(place: Place, test: NumberTest) -> list[str]:
    return [
        f"if (!meta_read(s, address + {place.offset}, {test.integer.size}))",
        "\treturn false;",
        f"return {_comparison(test)};",
    ]


def _comparison(test: NumberTest) -> str:
    integer = test.integer
    value = f"{test.value & ALL_BITS:#x}ULL"
    # The bits above it are shifted out to the left, those below it to the right.
    left, right = 64 - integer.shift - integer.bits, 64 - integer.bits
    number = "s->number"
    if integer.signed and test.mask is None:
        return f"((s64)({number} << {left}) >> {right}) {test.operator} (s64){value}"
    if integer.bits != integer.size * 8:
        number = f"({number} << {left} >> {right})"
    if test.mask is not None:
        number = f"({number} & {test.mask:#x}ULL)"
    return f"{number} {test.operator} {value}"


def _word_count(test: TextTest) -> int:
    return -(-test.size // _WORD_SIZE)


def _text_lines(place: Place, test: TextTest) -> list[str]:
    lines = []
    if test.pointer:
        lines += _hop(Hop(place.offset, ALL_BITS))
        read = f"bpf_probe_read_kernel_str(s->text, {test.size}, (void *)address) < 0"
    else:
        source = f"(void *)(address + {place.offset})"
        read = f"bpf_probe_read_kernel(s->text, {test.size}, {source})"
    count = _word_count(test)
    padded = test.value.ljust(count * _WORD_SIZE, b"\0")
    words = [
        # Little-endian, as every machine that retis supports.
        int.from_bytes(padded[i : i + _WORD_SIZE], "little")
        for i in range(0, len(padded), _WORD_SIZE)
    ]
    equal = " && ".join(f"s->text[{i}] == {word:#x}ULL" for i, word in enumerate(words))
    return [
        *lines,
        *(f"s->text[{i}] = 0;" for i in range(count)),
        f"if ({read})",
        "\treturn false;",
        f"return {equal};" if test.equal else f"return !({equal});",
    ]
