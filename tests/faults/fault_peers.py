# SPDX-License-Identifier: Apache-2.0
"""The fault server's answers to other S3 clients: who delivers wrong bytes, hangs, or crashes.

fault_peers.py --python PATH_OF_A_VENV_WITH_boto3_obstore_s3torchconnector [--results FILE] [--only ANSWER]

Every client does its plainest thing with its own defaults: boto3 `get_object(Range=...)` and obstore `get_range` read
one range of a shard; s3torchconnector reads the same bytes through its random-access reader; headrace reads the data set
through its loader. Only timeouts are made shorter, where the client has them (s3torchconnector has none to set, so that
its "no end" may be long retries), and the end of waiting is 45 s for all four (headrace reads 4 times as many bytes). "wrong bytes" = the call came back, with other bytes than asked for. Clients without checksums cannot see a
flipped bit: these rows say what a checksum is worth, not that a client is broken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WAIT_SECONDS = 45.0
FROM, UNTIL = 20_000, 90_000
KEY = "tar/train-000002.tar"
CLIENTS = ("boto3", "obstore", "s3torchconnector")


def rule(kind: str, **words: Any) -> dict[str, Any]:
    return {"kind": kind, "op": "GetObject", **words}


# Each stays for as long as the client tries.
ANSWERS = {
    "200 and the whole object": rule("whole"),
    "another range": rule("wrong-range"),
    "fewer bytes than asked for": rule("short-range", count=7),
    "no Content-Range": rule("header", header="Content-Range"),
    "multipart/byteranges": rule("multipart"),
    "gzip, unasked": rule("gzip"),
    "one bit flipped": rule("flip", at=30_000),
    "error document inside the body": rule("splice", at=30_000),
    "RST in the body": rule("reset", at=30_000),
    "FIN in the body": rule("truncate", at=30_000),
    "FIN in the head": rule("truncate", where="head", at=60),
    "silence in the body": rule("stall", at=30_000),
    "silence before the reply": rule("stall", where="head"),
    "10 bytes/s": rule("drip", at=100, bytes_per_s=10),
    "no Content-Length": rule("header", header="Content-Length"),
    "Content-Length: 12abc": rule("header", header="Content-Length", value="12abc"),
    "two Content-Lengths": rule("header", header="Content-Length", value="7", add=True),
    "chunked and Content-Length": rule("chunked", how="with-length"),
    "chunked, bad size": rule("chunked", how="bad-size"),
    "chunked, 10 bytes short": rule("chunked", how="short"),
    "chunked, 10 bytes more": rule("chunked", how="long"),
    "a header of 400 kB": rule("header", header="X-Big", pad=400_000),
    "HTTP/0.9": rule("head", value=""),
    "5,000 interim replies": rule("interim", count=5000),
    "307 to itself": rule("redirect", status=307, location="http://{host}{target}"),
    "500": rule("status", status=500),
    "error document in a 200": rule("status", status=200, code="InternalError"),
}

CODE = {
    "boto3": """
import boto3
from botocore.config import Config
s3 = boto3.client('s3', endpoint_url=URL, region_name='us-east-1', aws_access_key_id='headrace',
                  aws_secret_access_key='headrace-secret',
                  config=Config(s3={'addressing_style': 'path'}, connect_timeout=2, read_timeout=2))
READY()
got = s3.get_object(Bucket='data', Key=KEY, Range=f'bytes={FROM}-{UNTIL - 1}')['Body'].read()
""",
    "obstore": """
import datetime, obstore
from obstore.store import S3Store
store = S3Store('data', endpoint=URL, region='us-east-1', access_key_id='headrace',
                secret_access_key='headrace-secret', virtual_hosted_style_request=False,
                client_options={'allow_http': True, 'timeout': '4s', 'connect_timeout': '2s'},
                retry_config={'retry_timeout': datetime.timedelta(seconds=12)})
READY()
got = bytes(obstore.get_range(store, KEY, start=FROM, end=UNTIL))
""",
    "s3torchconnector": """
import os
os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'] = 'headrace', 'headrace-secret'
from s3torchconnector import S3ReaderConstructor, S3ClientConfig
from s3torchconnector._s3client import S3Client
client = S3Client('us-east-1', endpoint=URL, s3client_config=S3ClientConfig(force_path_style=True))
READY()
reader = client.get_object('data', KEY, reader_constructor=S3ReaderConstructor.range_based())
reader.seek(FROM)
got = reader.read(UNTIL - FROM)
""",
}
REPORT = """
import hashlib
print('DIGEST', len(got), hashlib.sha256(bytes(got)).hexdigest())
"""


class Client:
    """A process of one client that has loaded its library, and reads when it is told to."""

    def __init__(self, python: str, name: str, url: str) -> None:
        begin = f"URL, KEY, FROM, UNTIL = {url!r}, {KEY!r}, {FROM}, {UNTIL}\n"
        ready = "def READY():\n    print('READY', flush=True)\n    input()\n"
        self._process = subprocess.Popen(
            [python, "-c", begin + ready + CODE[name] + REPORT], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, wanted: str) -> dict[str, str]:
        """How it ends with the answer in force."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "READY":
            raise RuntimeError(self._process.communicate()[1])
        try:
            out, err = self._process.communicate("go\n", timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"ended": "HANG", "said": ""}
        if self._process.returncode == 0 and "DIGEST" in out:
            _, size, digest = out.split()[-3:]
            return {"ended": "ok" if digest == wanted else "WRONG", "said": f"{size} bytes"}
        crashed = self._process.returncode < 0 or "panicked" in err
        return {
            "ended": "CRASH" if crashed else "error",
            "said": (err.strip().splitlines() or [""])[-1][:300],
        }


def versions(python: str) -> dict[str, str]:
    code = f"import importlib.metadata as m; print(*[m.version(n) for n in {CLIENTS!r}])"
    found = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return dict(zip(CLIENTS, found, strict=True))


def headrace_row(lane: Any, answer: dict[str, Any]) -> dict[str, str]:
    """The same answer to every read of the shard, met by the loader."""
    from fault_case import Case

    case = Case("-", "peers", ({**answer, "key": "$one"},), deadline=WAIT_SECONDS)
    result = lane.run(case, "tar", "loader")
    kinds = {"exact": "ok", "error": "error", "hang": "HANG"}
    wrong = any(failure.startswith("C1") for failure in result.failures)
    return {"ended": "WRONG" if wrong else kinds[result.ended], "said": result.error[:300]}


def main() -> None:
    from fault_data import FIXTURES, lay_out
    from fault_grid import Grid

    import headrace

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--only", help="this answer again, for all; the file's other rows stay")
    options = parser.parse_args()
    shard = (FIXTURES / "wds-medium" / "data" / Path(KEY).name).read_bytes()
    wanted = hashlib.sha256(shard[FROM:UNTIL]).hexdigest()
    rows = []
    with tempfile.TemporaryDirectory(prefix="headrace-peers-") as folder:
        root = Path(folder, "root")
        lay_out(root)
        grid = Grid(root, Path(folder), Path(folder, "indexes"))
        try:
            grid.prepare()
            server = grid.lane.plain

            def started() -> dict[str, Client]:
                return {name: Client(options.python, name, server.endpoint_url) for name in CLIENTS}

            clients = started()
            clean = {name: client.ask(wanted) for name, client in clients.items()}
            if any(end["ended"] != "ok" for end in clean.values()):
                sys.exit(f"without faults: {clean}")
            ahead = started()
            for name, answer in ANSWERS.items():
                if options.only not in (None, name):
                    continue
                clients, ahead = ahead, started()  # libraries load while others are asked
                server.set_faults([answer])
                row: dict[str, Any] = {"name": name}
                with ThreadPoolExecutor() as pool:  # the rule holds for each request, whoever sends it
                    asked = {name: pool.submit(client.ask, wanted) for name, client in clients.items()}
                row |= {client: end.result() for client, end in asked.items()}
                server.set_faults([])
                row["headrace"] = headrace_row(grid, answer)
                rows.append(row)
                print(
                    name,
                    {client: row[client]["ended"] for client in (*CLIENTS, "headrace")},
                    flush=True,
                )
        finally:
            grid.close()
    if options.only and options.results:
        old = json.loads(options.results.read_text())["rows"]
        rows = [*rows, *[row for row in old if row["name"] != options.only]]
        rows.sort(key=lambda row: list(ANSWERS).index(row["name"]))
    if options.results:
        about = " ".join(line.strip() for line in (__doc__ or "").splitlines()[4:] if line.strip())
        document = {
            "about": about, "clients": [*CLIENTS, "headrace"], "rows": rows,
            "versions": {**versions(options.python), "headrace": headrace.__version__},
        }  # fmt: skip
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
