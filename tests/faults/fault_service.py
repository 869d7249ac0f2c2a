# SPDX-License-Identifier: Apache-2.0
"""The service's rows of the fault matrix: what a store, or who speaks for it, answers."""

from __future__ import annotations

from typing import Any

from fault_case import Case, get, head, lists

__all__ = ["SERVICE"]

PATIENT = {"attempts_max": 12, "retry_seconds_max": 30}


def _lists(
    id: str, name: str, kind: str, ends: str = "fails", quick: bool = False, once: str = "heals", **more: Any
) -> list[Case]:
    """An odd list once, and always."""
    return [
        Case(id, f"{name}, once", (lists(kind, times=1, **more),), once, stage="open", names="bucket", formats=("tar",)),
        Case(id, f"{name}, always", (lists(kind, **more),), ends, stage="open", names="bucket", formats=("tar",),
             quick=quick),
    ]  # fmt: skip


FAILING = [
    *[Case("S1", f"{status}, {form}, now and then", (get("status", status=status, html=html, every=4),))
      for status in (500, 502, 504) for form, html in (("S3's document", False), ("a proxy's page", True))],
    Case("S1", "500 for everything for 2 s", (get("status", status=500, until_s=2),), options=PATIENT),
    Case("S1", "500 always", (get("status", status=500, key="$one"),), "fails", ("InternalError",), "UnavailableError",
         quick=True),
    Case("S1", "502 always", (get("status", status=502, html=True, key="$one"),), "fails", ("502",)),
    Case("S1", "500 once to the list", (lists("status", status=500, times=1),), stage="open", formats=("tar",)),
    Case("S2", "503 SlowDown now and then", (get("status", status=503, every=6),), quick=True),
    Case("S2", "503 for everything for 2 s", (get("status", status=503, until_s=2),), options=PATIENT),
    Case("S2", "503 with Retry-After: 1", (get("status", status=503, retry_after_s=1, times=4),)),
    # Above backoff_max nobody is obeyed: 20 s, and as many again if need be.
    Case("S2", "503 with Retry-After of a working day", (get("status", status=503, retry_after_s=31_000, times=2),),
         options={"attempts_max": 5, "retry_seconds_max": 60}, deadline=60),
    Case("S2", "429 now and then", (get("status", status=429, every=6),)),
    Case("S2", "more than 60 requests/s are refused", (get("status", status=503, above_per_s=60),)),
    Case("S2", "503 always", (get("status", status=503, key="$one"),), "fails", ("slow down",), "ThrottledError"),
    Case("S3", "400 RequestTimeout now and then", (get("status", status=400, code="RequestTimeout", every=4),)),
    Case("S3", "ExpiredToken, and the keys cannot be renewed", (get("status", status=400, code="ExpiredToken"),),
         "fails", ("expired",), "AccessError"),
    Case("S3", "InvalidToken always", (get("status", status=400, code="InvalidToken"),), "fails", ("token",),
         "AccessError"),
    Case("S17", "a program for keys that fails", (), "fails", ("credential_process",), "AccessError", "",
         place="key-program-fails", stage="open", fires=False),
    Case("S17", "a program for keys that prints junk", (), "fails", ("credential_process",), "", "",
         place="key-program-junk", stage="open", fires=False),
    Case("S16", "no credentials anywhere", (), "fails", ("no AWS credentials found",), "AccessError", "",
         place="no-keys", stage="open", fires=False),
    Case("S4", "the server's clock is an hour ahead", (get("skew", seconds=3600),), quick=True),
    Case("S4", "the server's clock is an hour behind", (get("skew", seconds=-3600),)),
    Case("S4", "RequestTimeTooSkewed whatever we do", (get("status", status=403, code="RequestTimeTooSkewed"),),
         "fails", ("clock",), "AccessError"),
]  # fmt: skip

REFUSING = [
    Case("S5", "AccessDenied for one shard", (get("status", status=403, key="$one"),), "fails", ("denied",),
         "AccessError", quick=True),
    Case("S5", "AccessDenied for the list", (lists("status", status=403),), "fails", ("s3:ListBucket",), "AccessError",
         "bucket", stage="open", formats=("tar",)),
    Case("S5", "SignatureDoesNotMatch", (get("status", status=403, code="SignatureDoesNotMatch"),), "fails",
         ("secret access key",), "AccessError"),
    Case("S5", "a wrong secret key", (), "fails", ("secret access key",), "AccessError", "bucket", place="wrong-secret",
         stage="open", fires=False),
    Case("S5", "an unknown key id", (), "fails", ("access key id",), "AccessError", "bucket", place="wrong-key",
         stage="open", fires=False),
    Case("S5", "AuthorizationHeaderMalformed, other region once",
         (get("status", status=400, code="AuthorizationHeaderMalformed", region="us-east-1", times=1),), "fails",
         ("wrong region", "region=")),
    Case("S6", "a shard is gone while reading", (get("status", status=404, key="$one", after=2),), "fails",
         ("no such object",), "NotFoundError", quick=True),
    Case("S7", "a shard is written anew while reading", (get("replaced", key="$one", after=2),), "fails", ("changed",),
         "MismatchError", quick=True),
    Case("S7", "another ETag whatever If-Match said", (get("etag", key="$one", after=2),), "fails", ("ETag",)),
    Case("S7", "a shard is written anew while the index is built", (get("replaced", key="$one", after=1),), "fails",
         ("changed",), "MismatchError", stage="open"),
    Case("S14", "416 for a range inside", (get("status", status=416, key="$one"),), "fails", ("ends before",)),
    Case("S14", "304 unasked", (get("status", status=304, key="$one"),), "fails", ("304",)),
    Case("S14", "204 instead of bytes", (get("status-line", value="HTTP/1.1 204 No Content", key="$one"),), "fails"),
    Case("S15", "an archived shard", (get("status", status=403, code="InvalidObjectState", key="$one"),), "fails",
         ("archived",), "AccessError"),
    Case("S13", "a composite checksum on a range", (get("header", header="x-amz-checksum-crc32c",
         value="AAAAAA==-3"),)),
    Case("S13", "an unknown checksum", (get("header", header="x-amz-checksum-future", value="AAAAAA=="),)),
    Case("S13", "the whole object's checksum on a range", (get("header", header="x-amz-checksum-crc64nvme",
         value="AAAAAAAAAAA="),)),
]  # fmt: skip

REDIRECTING = [
    Case("S8", "301 with nowhere to go", (get("redirect", status=301),), "fails"),
    Case("S8", "307 to itself", (get("redirect", status=307, location="http://{host}{target}"),), "fails", quick=True),
    Case("S8", "307 without Location", (get("redirect", status=307),), "fails"),
    Case("S8", "307 to the metadata service", (get("redirect", status=307, location="http://169.254.169.254/"),),
         "fails"),
    Case("S8", "307 to a file", (get("redirect", status=307, location="file:///etc/passwd"),), "fails"),
    Case("S8", "307 to another host, which listens", (get("redirect", status=307, location="$canary"),), "fails",
         place="canary", quick=True),
    Case("S8", "301 to another host, from a list", (lists("redirect", status=301, location="$canary"),), "fails",
         place="canary", stage="open", names="bucket", formats=("tar",)),
    Case("S8", "308 to another host", (get("redirect", status=308, location="$canary"),), "fails", place="canary"),
    Case("S8", "301 names another region of a custom endpoint", (get("redirect", status=301, region="eu-west-1"),),
         "fails"),
]  # fmt: skip

LISTING = [
    *_lists("S9", "an error document in a 200", "status", status=200, code="InternalError", quick=True),
    *[case for how in ("cut", "empty", "garbage", "wrong-root", "bomb", "external", "deep", "bad-size")
      for case in _lists("S9", f"list {how}", "xml", how=how, quick=how == "bomb")],
    *_lists("S9", "keys that are no UTF-8", "xml", once="fails", how="bad-utf8"),
    # It will not become shorter by asking again: an error the first time.
    *_lists("S9", "list of 48 MiB", "xml", once="fails", how="huge"),
    *_lists("S10", "the same token again and again", "xml", quick=True, once="fails", how="same-token"),
    *_lists("S10", "more is promised, no token given", "xml", how="no-token"),
    *_lists("S10", "empty pages for ever", "xml", once="fails", how="empty-page"),
    *_lists("S10", "keys out of order", "xml", "heals", how="unsorted"),
    *_lists("S10", "every key twice", "xml", "heals", how="duplicate"),
    *_lists("S10", "a key of another prefix", "xml", "heals", how="foreign-key"),
    Case("S11", "keys with blanks, %, +, #, ?, & and beyond ASCII", (), place="odd-keys", stage="open", fires=False,
         formats=("tar",)),
    Case("S12", "HEAD is forbidden", (head("status", status=403),), by_name=True, stage="open", formats=("tar",)),
    Case("S12", "HEAD is not allowed", (head("status", status=405),), by_name=True, stage="open", formats=("tar",)),
    Case("S12", "HEAD without Content-Length", (head("header", header="Content-Length"),), by_name=True, stage="open",
         formats=("tar",)),
    Case("S12", "HEAD with a smaller size", (head("header", header="Content-Length", value="1024"),),
         by_name=True, stage="open", formats=("tar",)),
    Case("S12", "HEAD with a larger size", (head("header", header="Content-Length", value="99999999"),),
         by_name=True, stage="open", formats=("tar",)),
    Case("S12", "HEAD with another ETag", (head("etag"),), by_name=True, stage="open", formats=("tar",)),
]  # fmt: skip

SERVICE = [*FAILING, *REFUSING, *REDIRECTING, *LISTING]
