"""Metadata filters (``-m``): refused with one line, or C in which no text of the user's is left."""

import re

from fuzz.target import Target, assert_safe
from retis_py.errors import UsageError
from retis_py.events.escape import escape
from retis_py.filters.meta import compile_meta_filter
from retis_py.kernel.btf import Btf

SEEDS = (
    b'sk_buff.dev.name == "eth0" && sk_buff.mark:0xff == 0x2a',
    b"sk_buff.len >= 100 || sk_buff.pkt_type == PACKET_HOST",
    b"(sk_buff.cloned && !sk_buff.nohdr) || sk_buff.dev.nd_net.net.ns.inum == 1",
    b"sk_buff._nfct:~0x7:nf_conn.mark != 3",
    b"sk_buff.sk.__sk_common.skc_num == 0x50",
    b"sk_buff.head:u8 == 1 && sk_buff.dev.ifindex < -1",
)
_WORDS = ("sk_buff", ".dev", ".name", ".len", ".mark", ":0xff", ":~0x7:", "nf_conn", ".sk",
          ".cb", ".hash", ".protocol", " == ", " != ", " && ", " || ", "!", "(", ")", '"', "\\",
          "*/", "/*", "-1", "0x", ".users.refs.counter", ".headers", ".dev_addr")  # fmt: skip

_COMMENT = re.compile(r"/\*.*?\*/")  # of one line
_CODE = re.compile(r"[\w\s{}()\[\];,.*&|!=<>+\-?:^~\"]*", re.ASCII)


def target() -> Target:
    """See the module."""
    btfs = [Btf.vmlinux()]

    def check(data: bytes) -> None:
        text = data.decode(errors="surrogateescape")
        try:
            code = compile_meta_filter(text, btfs)
        except UsageError as error:
            assert_safe(escape(str(error)))
            return
        assert code.isascii()
        plain = _COMMENT.sub("", code)
        assert "/" not in plain, code
        assert _CODE.fullmatch(plain), code
        assert plain.count("{") == plain.count("}"), code

    return Target(check, SEEDS, [word.encode() for word in _WORDS], max_length=300)
