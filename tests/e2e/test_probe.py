# SPDX-License-Identifier: Apache-2.0
"""`headrace probe` and the verdict of `headrace plan`, end to end against the embedded server."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import headrace as hr
from headrace.cli.probe import probe_text
from headrace.probe import Probe, Work
from headrace.serve import Server

SECONDS = 3.0
URL = "s3://data/"
# Of product documentation: names that do not change.
KEYS = {
    "first_byte_ms", "per_connection_MBps", "knee", "loader", "gpu_idle_share", "verdict",
    "usd_per_epoch", "gets_per_epoch", "gets_per_second", "memory_bytes", "order",
}  # fmt: skip


@pytest.fixture(scope="module")
def weather():
    """20 ms, 50 MB/s a connection, 24 MB in 5 tars."""
    words = ["--synthetic", "data=samples=2000,bytes=10000,shard=5MB"]
    words += ["--first-byte-ms", "20", "--connection-mbps", "50"]
    with Server(words=words) as running:
        yield running


@pytest.fixture(scope="module")
def document(weather, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    options = {**weather.options, "index_dir": str(folder)}
    hr.open(URL, **options).close()  # makes the index
    work = Work(batch=32, step_ms=100, gpus=1, ranks=1, memory=64 << 20)
    measuring = Probe(URL, work=work, seconds=SECONDS, nbytes=64 << 20, price="get=0.4", **options)
    begin = time.monotonic()
    found = measuring.run()
    found["wall"] = time.monotonic() - begin
    return found


def command(*words, environment=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        env={**os.environ, **(environment or {})},
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        **options,
    )  # fmt: skip


# --- what is measured ---------------------------------------------------------------------------------


def test_figures_are_those_of_the_weather(document):
    assert 19.9 <= document["first_byte_ms"]["p50"] < 60  # never below what is injected
    assert document["whole_ms"]["p50"] >= document["first_byte_ms"]["p50"]
    assert 0 < document["per_connection_MBps"] < 55
    assert document["objects"] == 5  # 424 samples of 11,776 bytes fill 5 MB
    assert document["samples"] == 2000
    assert document["knee"]["requests"] >= 1
    assert document["loader"]["samples_per_s"] > 0
    assert document["throttled"] == document["failed"] == 0
    sizes = [row["bytes"] for row in document["range_sizes"]]
    assert sizes == sorted(sizes)
    assert set(sizes) <= {64 << (10 + i) for i in range(8)}


def test_time_and_bytes_are_what_was_said(document):
    assert document["spent"]["seconds"] <= SECONDS + 0.5
    assert document["wall"] <= SECONDS + 5  # with opening and the arithmetic, on a busy machine
    assert document["spent"]["bytes"] <= (64 << 20) + (
        64 << 20
    )  # and what the loader had under way
    assert document["spent"]["gets"] > 100


def test_the_documents_keys_are_those_of_the_manual(document):
    assert set(document) >= KEYS
    json.dumps(document, allow_nan=False)
    manual = (Path(__file__).parents[2] / "docs" / "probe.md").read_text()
    missing = [name for name in document if name != "wall" and f"`{name}`" not in manual]
    assert not missing, "keys that docs/probe.md does not explain"


def test_the_verdict_is_of_this_job(document):
    assert 0 <= document["gpu_idle_share"] <= 1
    assert document["verdict"].startswith("The GPU will ")
    assert document["steps_per_epoch"] == 2000 // 32
    assert document["memory_bytes"] == 64 << 20
    assert document["usd_per_epoch"] == pytest.approx(document["gets_per_epoch"] * 0.4 / 1000)
    assert set(document["order"]) == {"d1", "d4", "d32"}


@pytest.mark.parametrize("width", [80, 120])
def test_the_text_fits_the_terminal(document, width):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(probe_text(document))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for said in ("first byte", "knee", "against size", "GPU idle", "dollars", document["verdict"]):
        assert said in text


# --- without an index ---------------------------------------------------------------------------------


def test_any_objects_will_do(weather, buckets, server, tmp_path):
    stream = Probe(URL, seconds=2, nbytes=32 << 20, index_dir=str(tmp_path), **weather.options)
    found = stream.run()
    assert found["samples"] is None
    assert "no index" in found["note"]
    assert found["loader"]["samples_per_s"] > 0

    loose = buckets / "loose"
    loose.mkdir(exist_ok=True)
    for i in range(20):
        (loose / f"{i}.jpg").write_bytes(bytes(10_000))
    work = Work(batch=4, step_ms=10, gpus=1, ranks=1, memory=64 << 20)
    found = Probe("s3://loose/", work=work, seconds=2, nbytes=8 << 20, **server.options).run()
    assert found["loader"] is None
    assert (found["samples"], found["sample_bytes"], found["gets_per_epoch"]) == (20, 10_000, 20)
    assert found["order"] is None
    assert "no loader was run" in found["note"]

    files = Probe(loose, seconds=1, nbytes=8 << 20).run()
    assert files["first_byte_ms"]["p50"] > 0
    assert files["spent"]["usd"] == 0


# --- what is wrong ------------------------------------------------------------------------------------


def test_errors_say_what_is_wrong(server, buckets):
    (buckets / "tiny").mkdir(exist_ok=True)
    (buckets / "tiny" / "one.bin").write_bytes(b"x")

    def fails(kind, match, url, **changed):
        with pytest.raises(kind, match=match):
            Probe(url, seconds=1, **{**server.options, **changed}).run()

    fails(hr.NotFoundError, "nothing to read there", "s3://data/none/")
    fails(hr.NotFoundError, "no-such-bucket", "s3://no-such-bucket/x/")
    fails(hr.NotFoundError, "nothing to read there", "s3://empty/")
    fails(hr.AccessError, "SignatureDoesNotMatch", URL, aws_secret_access_key="wrong")
    fails(hr.OptionError, "too little", "s3://tiny/")
    fails(hr.OptionError, "unknown option", URL, regoin="x")
    with pytest.raises(hr.OptionError, match="max_seconds"):
        Probe(URL, seconds=0)
    with pytest.raises(hr.OptionError, match="max_bytes"):
        Probe(URL, nbytes=1000)
    too_large = Work(batch=64, step_ms=10, gpus=1, ranks=64, memory=64 << 20)
    with pytest.raises(hr.Error):
        Probe("s3://data/train-0.tar", work=too_large, seconds=1, **server.options).run()


def test_wrong_words_are_a_usage_error(server):
    def said(*words):
        done = command("probe", URL, *words, environment=server.environment)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        return done.stderr

    assert "--step-ms needs --batch" in said("--step-ms", "10")
    assert "need --batch and --step-ms" in said("--gpus", "4")
    assert "multiple" in said("--batch", "8", "--step-ms", "10", "--gpus", "8", "--ranks", "12")
    assert "--from 'moon'" in said("--from", "moon")
    assert "--price" in said("--price", "free")
    assert "max_bytes" in said("--max-bytes", "lots")


# --- the commands -------------------------------------------------------------------------------------


def test_a_saved_probe_serves_the_plan(weather, tmp_path):
    environment = {**weather.environment, "XDG_CACHE_HOME": str(tmp_path)}
    assert command("index", URL, environment=environment).returncode == 0
    done = command(
        "probe", URL, "--json", "--max-seconds", "2", "--max-bytes", "32MiB",
        environment=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "at most 2 s, 32.0 MiB" in done.stderr  # said first
    saved = tmp_path / "probe.json"
    saved.write_text(done.stdout)
    assert "verdict" not in json.loads(done.stdout)

    plan = ("plan", URL, "--batch", "32", "--step-ms", "100", "--json")
    done = command(*plan, "--probe", str(saved), environment=environment)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["verdict"].startswith("The GPU will ")
    assert planned["gets_per_epoch"] == planned["requests"]

    # 32 samples of 11.5 kB every 2 ms are 184 MB/s; a tenth of that makes the GPU wait 90 %.
    slow = ("plan", URL, "--batch", "32", "--step-ms", "2", "--json", "--latency-ms", "1")
    done = command(*slow, "--mbps", "18.4", environment=environment)
    assert json.loads(done.stdout)["gpu_idle_share"] == pytest.approx(0.9, abs=0.03), done.stderr
    text = command(*slow[:-3], *slow[-2:], "--mbps", "18.4", environment=environment).stdout
    assert "GPU idle" in text

    done = command("plan", URL, "--probe", str(saved), environment=environment)
    assert (done.returncode, "--step-ms" in done.stderr) == (2, True)
    done = command(*plan, "--latency-ms", "30", environment=environment)
    assert (done.returncode, "go together" in done.stderr) == (2, True)
