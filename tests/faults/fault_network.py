# SPDX-License-Identifier: Apache-2.0
"""The network's rows of the fault matrix: connections, bytes, HTTP's framing, TLS, proxies."""

from __future__ import annotations

from typing import Any

from fault_case import Case, connect, get, head

__all__ = ["NETWORK"]


def _pair(
    id: str, name: str, kind: str, words: tuple[str, ...], /, every: int = 5, quick: bool = False, **more: Any
) -> list[Case]:
    """The fault now and then, which is healed; and the fault on each read of one shard, which is an error."""
    return [
        Case(id, f"{name}, now and then", (get(kind, every=every, **more),), quick=quick),
        Case(id, f"{name}, always", (get(kind, **{**more, "key": "$one"}),), "fails", words),
    ]


def _length(name: str, value: str, **more: Any) -> list[Case]:
    return _pair("N9", name, "header", ("malformed",), header="Content-Length", value=value, **more)


CONNECTING = [
    Case("N1", "connection refused", (), "fails", ("refused",), names="endpoint", place="closed-port", stage="open",
         fires=False, quick=True),
    Case("N1", "the server is restarted under the read", (), place="restarted", fires=False,
         options={"attempts_max": 10}),
    Case("N2", "connections are never answered", (), "fails", ("no answer within",), names="endpoint", place="black-hole",
         stage="open", fires=False),
    Case("N3", "the name does not exist", (), "fails", ("no-such-host.invalid",), names="endpoint", place="no-name",
         stage="open", fires=False, quick=True),
]  # fmt: skip

BROKEN = [
    *_pair("N5", "RST before the reply", "reset", ("reset",), where="head", quick=True),
    *_pair("N5", "RST in the head", "reset", ("reset",), where="head", at=60),
    *_pair("N5", "RST at the first body byte", "reset", ("reset",), at=0),
    *_pair("N5", "RST in the body", "reset", ("reset",), at=3000),
    Case("N5", "RST in the middle of each first body, index being built", (get("reset", at=70_000, times=3),),
         stage="open"),
    *_pair("N6", "FIN before the reply", "truncate", ("closed",), where="head"),
    *_pair("N6", "FIN in the head", "truncate", ("closed",), where="head", at=60, quick=True),
    *_pair("N6", "FIN in the body", "truncate", ("closed",), at=3000),
    # Every byte of the range that Content-Range names is there, and agrees with the index's checksum: nothing to read again.
    Case("N6", "FIN before a chunked body's last chunk, of no bytes", (get("chunked", how="no-end"),)),
    Case("N6", "FIN in the body, index being built", (get("truncate", at=70_000, times=3),), stage="open"),
    *_pair("N7", "silence before the reply", "stall", ("no reply within",), where="head", every=20),
    *_pair("N7", "silence in the body", "stall", ("stalled",), at=3000, every=20, quick=True),
    *_pair("N7", "silence before the last byte of the head", "stall", ("no reply within",), where="head", at=100, every=20),
    Case("N7", "silence, then Ctrl-C", (get("stall", at=100),), "fails", names="", interrupt_after=0.7,
         options={"read_timeout": 60}, quick=True),
    Case("N7", "silence while the index is built, then Ctrl-C", (get("stall", at=100),), "fails", names="",
         interrupt_after=0.7, options={"read_timeout": 60}, stage="open"),
    Case("N8", "one connection of many drips 10 bytes/s", (get("drip", at=100, bytes_per_s=10, nth=7),)),
    Case("N8", "everything at 200 kB/s", (get("drip", bytes_per_s=200_000),)),
    *_pair("N15", "a kept connection is closed as the request is sent", "truncate", ("closed",), where="head",
           reused=True, every=3, quick=True)[:1],
    *_pair("N15", "a kept connection is reset as the request is sent", "reset", ("reset",), where="head",
           reused=True, every=3)[:1],
    Case("N16", "the server stands still for two seconds", (), place="paused", fires=False),
]  # fmt: skip

FRAMING = [
    *_pair("N9", "bytes behind the body", "extra", ())[:1],
    *_length("Content-Length: 12abc", "12abc", quick=True),
    *_length("Content-Length of 20 digits", "99999999999999999999"),
    *_length("negative Content-Length", "-1"),
    *_length("empty Content-Length", ""),
    *_length("two Content-Lengths that differ", "7", add=True),
    *_length("Content-Length: 5, 7", "5, 7"),
    *_pair("N9", "no Content-Length", "header", (), header="Content-Length"),
    *_pair("N9", "a header of 400 kB", "header", ("longer than",), header="X-Big", pad=400_000),
    *_pair("N9", "NUL in a header", "header", (), header="X-Odd", value="a\0b"),
    *_pair("N9", "a folded header", "header", (), header="X-Odd", value="a\r\n b"),
    *_pair("N9", "a header without a colon", "header", (), header="X-Odd", value="a\r\nnonsense"),
    *_pair("N9", "HTTP/0.9", "head", (), value=""),
    *_pair("N9", "a bad status line", "status-line", (), value="HTTP/1.1 twohundred OK"),
    *_pair("N9", "another protocol", "status-line", (), value="SSH-2.0-OpenSSH_9.2"),
    *_pair("N9", "5,000 interim replies", "interim", (), count=5000),
    *_pair("N9", "junk in the body", "garbage", (), at=2000),
    *_pair("N9", "chunked, no line end behind the data", "chunked", ("malformed",), how="no-crlf"),
    *[case for how in ("bad-size", "huge-size", "with-length", "short", "long")
      for case in _pair("N9", f"chunked, {how}", "chunked", (), how=how)],
    Case("N9", "chunked, as it should be", (get("chunked", how="good"),)),
    Case("N9", "chunked with a trailer", (get("chunked", how="trailer"),)),
    *_pair("N10", "200 and the whole object", "whole", (), quick=True),
    *_pair("N10", "another range", "wrong-range", ("another range",), quick=True),
    *_pair("N10", "no Content-Range", "header", ("another range",), header="Content-Range"),
    *_pair("N10", "a garbled Content-Range", "header", ("another range",), header="Content-Range", value="bytes 0-/x"),
    *_pair("N10", "another total", "wrong-total", ("another size",)),
    *_pair("N10", "fewer bytes than asked for", "short-range", (), count=7),
    *_pair("N10", "multipart/byteranges", "multipart", ()),
    *_pair("N10", "gzip, unasked", "gzip", ()),
]  # fmt: skip

FLIPPED = [
    # Rarely enough that the two further readings of the same bytes are not hit as well.
    *_pair("N12", "one bit flipped", "flip", ("crc32c",), at=1500, every=11, quick=True),
    *_pair("N12", "the rest of the body inverted", "scramble", ("crc32c",), at=900, every=11),
    *_pair("N12", "an error document spliced into the body", "splice", ("crc32c",), at=700, every=11),
    Case("N12", "a rotten byte in the store", (get("flip", key="$one", object_at=60_000),), "fails", ("crc32c",)),
]

# The server keeps CRC-64/NVME of whole objects, as S3 does; the index's own checksums are made in this pass.
STORED = [
    Case("N11", "one bit flipped while the index is built, once", (get("flip", at=3000, times=1),), stage="open",
         quick=True),
    Case("N11", "one bit of a shard flipped while the index is built, always", (get("flip", at=3000, key="$one"),),
         "fails", stage="open", quick=True),
    Case("N11", "a wrong checksum from the store", (head("header", header="x-amz-checksum-crc64nvme",
         value="AAAAAAAAAAA="),), "fails", ("crc64nvme",), stage="open"),
]  # fmt: skip

SECURE = [
    Case("N13", "TLS as it should be", (), place="tls", fires=False, quick=True),
    Case("N13", "a CA that is not known", (), "fails", ("certificate",), names="endpoint", place="tls-unknown-ca",
         stage="open", fires=False),
    Case("N13", "a certificate for another host", (), "fails", ("certificate",), names="endpoint",
         place="tls-other-host", stage="open", fires=False),
    Case("N13", "an expired certificate", (), "fails", ("expired",), names="endpoint", place="tls-expired",
         stage="open", fires=False),
    Case("N13", "a server without TLS", (), "fails", ("TLS",), names="endpoint", place="tls-to-plain",
         stage="open", fires=False),
    Case("N13", "alerts instead of handshakes, sometimes", (connect("tls-alert", every=3, times=6),), place="tls"),
    Case("N13", "alerts instead of handshakes, always", (connect("tls-alert", until_s=14),), "fails", ("TLS",), names="endpoint",
         place="tls", stage="open"),
    Case("N13", "slow handshakes", (connect("stall", ms=400),), place="tls"),
    Case("N13", "handshakes that hang", (connect("stall", ms=60_000, until_s=14),), "fails", ("no TLS handshake",), names="endpoint", place="tls",
         stage="open"),
    Case("N13", "FIN without close_notify in a body", (get("truncate", at=3000, every=5),), place="tls", quick=True),
    Case("N13", "a broken record in a body", (get("garbage", at=3000, every=5),), place="tls"),
    Case("N13", "RST in a body", (get("reset", at=3000, every=5),), place="tls"),
    Case("N13", "silence in a body", (get("stall", at=3000, every=20),), place="tls"),
]  # fmt: skip

PROXIES = [
    Case("N14", "through a proxy", (), place="proxy", fires=False),
    Case("N14", "the proxy wants a password", (), "fails", ("407",), names="", place="proxy-407", stage="open",
         fires=False),
    Case("N14", "the proxy hangs up", (), "fails", (), names="", place="proxy-drops", stage="open", fires=False),
    Case("N14", "there is no proxy where the environment says", (), "fails", ("proxy",), names="", place="proxy-gone",
         stage="open", fires=False),
    Case("N14", "NO_PROXY passes a broken proxy by", (), place="no-proxy", fires=False),
]  # fmt: skip

NETWORK = [*CONNECTING, *BROKEN, *FRAMING, *STORED, *FLIPPED, *SECURE, *PROXIES]
