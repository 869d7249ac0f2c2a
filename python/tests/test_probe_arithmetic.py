# SPDX-License-Identifier: Apache-2.0
"""The parts of `headrace probe` that need no store: the model, the prices, the verdict, and what is read
off a run of range reads. Expected values are arithmetic on paper."""

import heapq
import json
import math

import numpy as np
import pytest

from headrace.errors import Error, OptionError, ThrottledError
from headrace.probe.figures import StoreFigures, figures_of, lognormal, quantiles_of, read_figures
from headrace.probe.measure import SMALL, Measurement
from headrace.probe.model import Job, forecast
from headrace.probe.prices import price_of, with_words
from headrace.probe.runs import Budget
from headrace.probe.verdict import Epoch, Work, cpu_limit, judge

MIB = 1 << 20


def constant(ms):
    return ((0.0, ms), (100.0, ms))


def store(ms=10.0, connection=1e6, **limits):
    return StoreFigures(constant(ms), connection, **limits)


# A batch of 100 samples of 10 kB in 10 reads every 10 ms: 100 MB/s, 1,000 GET/s, 10,000 samples/s.
JOB = Job(batch=100, step_s=0.010, batch_bytes=1e6, reads=10, memory=1 << 30)


def idle(figures, job=JOB):
    return forecast(figures, job).idle_share


# --- model --------------------------------------------------------------------------------------------


def test_a_store_that_is_fast_enough_never_makes_the_trainer_wait():
    found = forecast(store(), JOB)
    assert found.idle_share == pytest.approx(0, abs=1e-6)
    assert found.samples_per_s == pytest.approx(10_000)
    # Ten reads, of which 4 may be under way at first and 8 then: two first bytes, next to no body.
    assert found.first_batch_s == pytest.approx(0.020, rel=0.01)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_what_the_wire_gives_of_what_is_needed_is_the_busy_share(share):
    assert idle(store(MBps_max=100 * share)) == pytest.approx(1 - share, abs=0.02)
    assert idle(store(GETps_max=1000 * share)) == pytest.approx(1 - share, abs=0.02)
    slow_cpu = Job(**{**vars(JOB), "samples_per_s": 10_000 * share})
    assert idle(store(), slow_cpu) == pytest.approx(1 - share, abs=0.02)


def test_ranks_of_a_machine_share_its_line_and_all_ranks_a_stores_limit():
    four = Job(**{**vars(JOB), "gpus": 4, "ranks": 4})
    assert idle(store(MBps_max=200), four) == pytest.approx(0.5, abs=0.02)
    assert idle(store(MBps_max=400), four) == pytest.approx(0.0, abs=0.02)
    # Eight machines of four: each has its own line, and an eighth of what the store allows.
    many = Job(**{**vars(JOB), "gpus": 4, "ranks": 32})
    assert idle(store(MBps_max=200), many) == pytest.approx(0.5, abs=0.02)
    assert idle(store(GETps_max=4000), many) == pytest.approx(0.0, abs=0.02)
    assert idle(store(GETps_max=4000, throttled=True), many) == pytest.approx(7 / 8, abs=0.02)


def test_read_ahead_is_bounded_by_memory():
    # 16 MiB batches, 1 s a read. A third of 64 MiB is kept for slots: 2 batches are read a second.
    big = Job(batch=64, step_s=0.125, batch_bytes=16 * MIB, reads=16, memory=64 * MIB)
    assert forecast(store(ms=1000), big).samples_per_s == pytest.approx(2 * 64, rel=0.05)
    roomy = Job(**{**vars(big), "memory": 1 << 30})
    assert forecast(store(ms=1000), roomy).samples_per_s > 6 * 64
    lanes = Job(**{**vars(big), "memory": 128 * MIB, "held": 64 * MIB})
    assert forecast(store(ms=1000), lanes).samples_per_s == pytest.approx(2 * 64, rel=0.05)


def test_lanes_are_filled_first():
    # 10 MB of lanes over a line of 110 MB/s that has 10 to spare: a second until it has caught up.
    plain = store(MBps_max=110)
    lanes = Job(**{**vars(JOB), "held": 10e6})
    assert idle(plain) < 0.001
    assert idle(plain, lanes) == pytest.approx(10 / 110 / 2.1, abs=0.02)


def test_one_connection_is_no_faster_than_it_is():
    # One read a batch of 1 MB at 10 MB/s = 100 ms behind 10 ms, before the first batch.
    one = Job(**{**vars(JOB), "reads": 1})
    assert forecast(store(connection=10), one).first_batch_s == pytest.approx(0.110, rel=0.01)


def test_the_slowest_reads_are_what_a_small_memory_waits_for():
    late = StoreFigures(((0, 10.0), (89.9, 10.0), (90, 400.0), (100, 400.0)), 1e6)
    rare = StoreFigures(((0, 10.0), (98.9, 10.0), (99, 400.0), (100, 400.0)), 1e6)
    small = Job(batch=100, step_s=0.05, batch_bytes=16 * MIB, reads=16, memory=48 * MIB)
    large = Job(**{**vars(small), "memory": 1 << 30})
    assert idle(store(), small) < 0.01
    assert idle(late, small) > 0.3 > 0.15 > idle(late, large)
    assert idle(rare, small) < 0.05, "what 3 % more reads can mend is mended"


def test_the_same_seed_gives_the_same_answer():
    figures = StoreFigures(lognormal(30), 80, MBps_max=90)
    assert forecast(figures, JOB, seed=3) == forecast(figures, JOB, seed=3)
    assert forecast(figures, JOB, seed=3) != forecast(figures, JOB, seed=4)


# --- figures ------------------------------------------------------------------------------------------


def test_the_default_shape_is_log_normal_with_a_late_hundredth():
    figures = StoreFigures(lognormal(30), 80)
    assert figures.first_byte(50) == pytest.approx(30, rel=0.02)
    assert figures.first_byte(90) == pytest.approx(30 * math.exp(0.35 * 1.2816), rel=0.03)
    assert figures.first_byte(99.5) == 300
    drawn = figures.draw_first_byte_s(np.linspace(0, 1, 100_001))
    assert np.median(drawn) == pytest.approx(0.030, rel=0.02)


def document(**changed):
    return {
        "first_byte_ms": {"quantiles": [[0, 5], [50, 10], [100, 30]]},
        "per_connection_MBps": 80,
        "knee": {"MBps_max": 500, "reached": True},
        "get_limit": {"GETps": 5500, "throttled": True, "reached": True},
        **changed,
    }


def test_a_saved_probe_is_read_back(tmp_path):
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(document()))
    figures, whole = read_figures(file)
    assert figures == StoreFigures(((0, 5), (50, 10), (100, 30)), 80, 500, 5500, True)
    assert whole["knee"]["MBps_max"] == 500


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        "x",
        document(per_connection_MBps=0),
        document(per_connection_MBps=-1),
        document(knee={}),
        document(get_limit={"GETps": -1, "throttled": False, "reached": True}),
        document(first_byte_ms={"quantiles": []}),
        document(first_byte_ms={"quantiles": [[0, 5], [100, 4]]}),
        document(first_byte_ms={"quantiles": [[0, 5], [90, 6]]}),
        document(first_byte_ms={"quantiles": [[0, -5], [100, 6]]}),
        document(first_byte_ms={"quantiles": [[0, 5], [100, math.inf]]}),
    ],
)
def test_what_is_no_probe_is_refused(tmp_path, broken):
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(broken))
    with pytest.raises(OptionError, match="not what `headrace probe"):
        read_figures(file)


def test_a_probe_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OptionError, match="No such file"):
        read_figures(tmp_path / "none.json")


# --- prices -------------------------------------------------------------------------------------------


def test_prices_follow_the_place(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    s3 = price_of("s3://bucket/x/")
    # 1.28 M GETs of an ImageNet epoch are half a dollar; 147 GB through the internet 13.
    assert s3.epoch(1.28e6, 147e9, "same-region") == pytest.approx(0.512)
    assert s3.epoch(0, 147e9, "internet") == pytest.approx(13.23)
    express = price_of("s3://bucket--usw2-az1--x-s3/x/")
    # Amazon's own example: 10,485,760 GETs of 2 MB a day, 0.0315 + retrieval of 20 TiB at 0.0006.
    assert express.epoch(10_485_760, 0, "same-region") == pytest.approx(0.3146, rel=1e-3)
    assert express.gb("same-region") == 0.0006
    assert price_of("gs://bucket/x").provider.startswith("Google")
    r2 = price_of("s3://b/x", "https://account.r2.cloudflarestorage.com")
    assert r2.epoch(1e6, 1e12, "internet") == pytest.approx(0.36)
    assert price_of("s3://b/x", "http://127.0.0.1:9000") is None
    assert price_of("https://example.org/x") is None
    assert price_of("/data").epoch(1e9, 1e15, "internet") == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://ceph:8080")
    assert price_of("s3://b/x") is None


def test_the_users_prices_win():
    given = with_words(None, "get=0.4,gb=0.02")
    assert given.epoch(1000, 1e9, "same-region") == pytest.approx(0.42)
    s3 = with_words(price_of("gs://b"), "gb=0.05")
    assert (s3.per_1000_gets, s3.gb("internet")) == (0.0004, 0.05)
    assert with_words(None, None) is None
    for wrong in ("0.4", "put=1", "get=x", "get=-1", "get=1,", "get=nan"):
        with pytest.raises(OptionError, match="--price"):
            with_words(None, wrong)


# --- verdict ------------------------------------------------------------------------------------------

WORK = Work(batch=100, step_ms=10, gpus=1, ranks=1, memory=1 << 30)


def epoch(memory):
    return Epoch(steps=1000, gets=10_000, bytes=1e9, held=0, order={"d1": 1.0, "d4": 1.0, "d32": 1})


def test_the_verdict_names_the_limit_and_the_arithmetic():
    found = judge(store(MBps_max=50), WORK, epoch, price=with_words(None, "get=0.4"))
    said = found.to_dict()
    assert found.cause == "bandwidth"
    assert said["gpu_idle_share"] == pytest.approx(0.5, abs=0.02)
    assert "50 MB/s" in said["verdict"]
    assert "100 MB/s" in said["verdict"]
    assert said["usd_per_epoch"] == pytest.approx(4.0)
    assert said["gets_per_epoch"] == 10_000
    # 10,000 GETs in 10 s of steps and 10 s of waiting
    assert said["epoch_seconds"] == pytest.approx(20, rel=0.03)
    assert said["gets_per_second"] == pytest.approx(500, rel=0.03)
    assert said["needs"] == {
        "samples_per_s": 10_000,
        "MBps": 100,
        "GETps": 1000,
        "GETps_all": 1000,
    }


def test_each_limit_is_told_from_the_others():
    assert judge(store(), WORK, epoch).cause == ""
    assert "will not wait" in judge(store(), WORK, epoch).sentence
    assert judge(store(GETps_max=500), WORK, epoch).cause == "requests"
    slow = {"samples_per_s": 4000, "cpu_s_per_sample": 1e-6}
    assert judge(store(), WORK, epoch, loader=slow, cores=2).cause == "loader"
    small = Work(batch=64, step_ms=125, gpus=1, ranks=1, memory=64 * MIB)
    large = judge(store(ms=1000), small, lambda memory: Epoch(1000, 16_000, 16e3 * MIB, 0, None))
    assert large.cause == "memory"
    assert any("memory=" in advice for advice in large.advice)
    assert large.to_dict()["order"] is None


def test_ranks_of_a_machine_share_its_cores():
    # 1 ms of CPU a sample, 8 cores, 90 % usable: 7,200 samples/s for 4 ranks.
    assert cpu_limit(8, 1e-3, 4) == pytest.approx(1800)
    assert cpu_limit(8, 0, 4) == math.inf


def test_what_the_loader_reached_limits_only_where_the_model_says_more():
    # The wire gives 5,000 samples/s; a loader that reached those is no second limit.
    wire = store(MBps_max=50)
    seen = {"samples_per_s": 5000, "cpu_s_per_sample": 1e-5}
    assert judge(wire, WORK, epoch, loader=seen, cores=8).cause == "bandwidth"
    unexplained = {"samples_per_s": 2500, "cpu_s_per_sample": 1e-5}
    found = judge(wire, WORK, epoch, loader=unexplained, cores=8)
    assert found.forecast.idle_share == pytest.approx(0.75, abs=0.02)
    # 50 us of CPU a sample, one core: 18,000 samples/s for one rank, 4,500 for each of four.
    busy = {"samples_per_s": 18_000, "cpu_s_per_sample": 5e-5}
    four = Work(batch=100, step_ms=10, gpus=4, ranks=4, memory=1 << 30)
    found = judge(
        store(), four, lambda memory: Epoch(250, 10_000, 1e9, 0, None), loader=busy, cores=1
    )
    assert found.cause == "loader"
    assert found.forecast.idle_share == pytest.approx(1 - 4500 / 10_000, abs=0.02)


def test_a_limit_that_was_not_reached_is_none():
    open_end = document(
        knee={"MBps_max": 500, "reached": False},
        get_limit={"GETps": 5500, "throttled": False, "reached": False},
    )
    figures = figures_of(open_end)
    assert (figures.MBps_max, figures.GETps_max) == (math.inf, math.inf)
    faster = figures_of(document(loader={"MBps": 600}))
    assert faster.MBps_max == 600


# --- what is read off runs ----------------------------------------------------------------------------


class Client:
    """Answers as a store would whose every figure is known; the clock is its own."""

    name = "s3://fake"
    has_more = False

    def __init__(self, *, sizes=(64 * MIB,), first_s=0.02, connection=100e6, total=0.0, gets=0.0):
        self._sizes, self._first, self._connection = sizes, first_s, connection
        self._total, self._gets = total, gets
        self.now = 0.0
        self.open_s = 1.0  # the first read of a connection waits for it
        self.runs = []
        self.failure, self.failed = "", 3

    def objects(self):
        return [(f"o{i}", size) for i, size in enumerate(self._sizes)]

    def run(self, target, begin, nbytes, in_flight, send_seconds, drain_seconds):
        assert (begin + nbytes <= np.array(self._sizes, np.uint64)[target.astype(int)]).all()
        self.runs.append((len(target), in_flight, int(nbytes.sum())))
        n = len(target)
        sent, first, done = np.zeros(n), np.zeros(n), np.zeros(n)
        end = np.zeros(n, np.uint8)
        places = [(0.0, place) for place in range(in_flight)]
        fresh = set(range(in_flight))
        line = tokens = over = 0.0
        limit = send_seconds + drain_seconds
        for i in range(n):
            now, place = heapq.heappop(places)
            if now >= send_seconds:
                break
            sent[i] = now
            if self._gets and tokens > now + 0.1:  # a bucket of 100 ms
                end[i], done[i] = 2, now + 0.001
                heapq.heappush(places, (now + 0.1, place))
                continue
            tokens = max(tokens, now) + (1 / self._gets if self._gets else 0)
            opened = self.open_s if place in fresh else 0.0
            fresh.discard(place)
            first[i] = self._first
            starts = now + opened + self._first
            line = max(line, starts) + (float(nbytes[i]) / self._total if self._total else 0)
            done[i] = max(starts + float(nbytes[i]) / self._connection, line)
            end[i] = 1 if done[i] <= limit else 4
            done[i] = min(done[i], limit)
            over = max(over, done[i])
            heapq.heappush(places, (done[i], place))
        self.now += over
        if self.failure:
            end[:] = self.failed
        return {
            "sent": sent,
            "first_byte": first,
            "done": done,
            "end": end,
            "failure": self.failure,
        }


def measure(client, read_bytes=460_000, **limits):
    limits = {"seconds": 30.0, "nbytes": 4 << 30, **limits}
    budget = Budget(**limits, clock=lambda: client.now)
    return Measurement(client, budget, read_bytes).measure(), budget


def test_latencies_leave_the_opening_of_connections_out():
    client = Client()
    client.open_s = 0.5
    found, _ = measure(client)
    small = SMALL / 100e6
    assert dict(found.first_byte_ms)[99] == pytest.approx(20)
    assert dict(found.whole_ms)[99] == pytest.approx(20 + small * 1e3, rel=1e-3)
    assert found.latency_reads > 1000


def test_one_connections_rate_leaves_the_first_byte_out():
    client = Client(first_s=0.2, connection=50e6)
    client.open_s = 0.0
    found, _ = measure(client)
    assert found.per_connection_MBps == pytest.approx(50, rel=1e-3)


def test_the_knee_is_where_the_line_is_full():
    client = Client(total=400e6)
    client.open_s = 0.05
    found, _ = measure(client)
    # 460 kB in 24.6 ms = 18.7 MB/s each: 400 MB/s need 21.4 in flight, so 32 of the powers of two
    assert found.knee["requests"] == 32
    assert found.knee["MBps_max"] == pytest.approx(400, rel=0.03)
    assert found.climb[0]["MBps"] == pytest.approx(18.7, rel=0.03)
    assert found.climb[-1]["requests"] <= 128, "two doublings beyond the knee are enough"
    assert found.knee["reached"]


def test_a_limit_of_requests_is_found_and_not_hammered():
    client = Client(gets=2000.0, connection=1e9)
    client.open_s = 0.02
    found, _ = measure(client)
    assert found.get_limit["throttled"]
    assert found.get_limit["GETps"] == pytest.approx(2000, rel=0.05)
    assert max(row["requests"] for row in found.get_climb) == 64  # 32 / 20 ms = 1,600, 64: 3,200


def test_ranges_of_all_sizes_aligned_and_not():
    client = Client()
    client.open_s = 0.0
    found, _ = measure(client)
    assert [row["bytes"] for row in found.sizes] == [64 << (10 + i) for i in range(8)]
    for row in found.sizes:
        for kind in ("aligned", "unaligned"):
            expected = 20 + row["bytes"] / 100e6 * 1e3
            assert row[kind]["whole_ms"] == pytest.approx(expected, rel=1e-3)


def test_time_bytes_and_gets_are_bounds():
    client = Client()
    _, budget = measure(client, seconds=3.0)
    assert client.now <= 3.1
    client = Client(first_s=0.001, connection=10e9)
    client.open_s = 0.0
    _, budget = measure(client, nbytes=64 * MIB)
    assert sum(run[2] for run in client.runs) <= 64 * MIB
    assert budget.cut
    client = Client(first_s=0.001)
    client.open_s = 0.0
    _, budget = measure(client, gets_max=3000)
    assert sum(run[0] for run in client.runs) <= 3000
    assert budget.gets <= 3000


def test_small_objects_are_read_whole():
    client = Client(sizes=(30_000, 50_000, 100_000))
    client.open_s = 0.0
    found, _ = measure(client, read_bytes=MIB)
    assert found.knee["bytes"] == 100_000
    assert [row["bytes"] for row in found.sizes] == [64 << 10]


def test_too_little_data_and_no_answers_are_errors():
    with pytest.raises(OptionError, match="too little"):
        measure(Client(sizes=(1000,)))
    client = Client()
    client.failure = "connection reset"
    with pytest.raises(Error, match="connection reset"):
        measure(client)
    client.failed = 2
    with pytest.raises(ThrottledError, match="turned away"):
        measure(client)


def test_quantiles_are_numpys():
    values = np.random.default_rng(0).lognormal(size=1000)
    assert dict(quantiles_of(values))[99] == pytest.approx(np.percentile(values, 99), abs=1e-3)
