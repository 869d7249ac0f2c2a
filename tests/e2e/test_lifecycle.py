# SPDX-License-Identifier: Apache-2.0
"""Stopping: break, exception, Ctrl-C, SIGKILL, fork, interpreter exit. And what ranks do when they differ."""

import json
import os
import random
import shutil
import signal
import threading
import time

import pytest

import headrace as hr

OPEN = "import headrace as hr, sys, time, os, json\nds = hr.open('s3://data/train-{0..3}.tar')\n"


def wait_for(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_importing_starts_nothing(child):
    code = (
        "import os, sys, numpy\n"  # numpy's BLAS has threads of its own
        "before = os.listdir('/proc/self/task'), os.listdir('/proc/self/fd')\n"
        "import headrace\n"
        "print(before == (os.listdir('/proc/self/task'), os.listdir('/proc/self/fd')), 'torch' in sys.modules)"
    )
    _, out, err = wait_for(child(code))
    assert out.split() == ["True", "False"], err


def test_the_repr_of_a_data_set_that_is_closed_or_did_not_open_says_so(tmp_path):
    """Debuggers and pytest show it beside the error that matters."""
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    dataset = hr.open(f"file://{tmp_path}/", index_dir=tmp_path / "index")
    assert repr(dataset).endswith("1 samples in 1 shards>")
    dataset.close()
    assert "closed" in repr(dataset)
    with pytest.raises(hr.Error) as raised:
        hr.open(f"file://{tmp_path}/nothing/", index_dir=tmp_path / "index")
    frames = [entry.frame.f_locals.get("self") for entry in raised.traceback]
    half_open = [held for held in frames if isinstance(held, hr.Dataset)]
    assert half_open
    assert all("closed" in repr(held) for held in half_open)


def test_the_interpreter_exits_cleanly_with_an_open_iterator(child):
    code = OPEN + "it = iter(ds.loader(batch_size=8)); next(it); print('ok')"
    begin = time.monotonic()
    status, out, err = wait_for(child(code))
    assert (status, out.strip(), err) == (0, "ok", "")
    assert time.monotonic() - begin < 30


def test_ctrl_c_in_a_wait_is_answered_within_a_second(child, buckets):
    """The server holds every reply back for a minute."""
    from headrace.serve import Server

    # A suite that a shell runs in the background has SIGINT ignored, and its children inherit that.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = heed + OPEN + (
        "it = iter(ds.loader(batch_size=8))\nprint('waiting', flush=True)\n"
        "try:\n    next(it)\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    with Server(buckets) as quick:
        environment = {**quick.environment}
        wait_for(child(OPEN, environment=environment))  # leaves the index in the cache
    with Server(buckets, words=["--first-byte-ms", "100", "--fault", "stall,at=0,op=GetObject"]) as slow:
        process = child(code, environment={**slow.environment})
        line = process.stdout.readline()
        if "waiting" not in line:
            pytest.fail(process.stderr.read())
        time.sleep(0.3)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, out, err = wait_for(process)
        assert "interrupted" in out, err
        assert time.monotonic() - begin < 10  # 0.2 s on a quiet machine; the stall would be a minute


def test_many_abandoned_iterators_leave_nothing_behind(dataset):
    loader = dataset.loader(batch_size=16, memory="8MiB")
    next(iter(loader))
    tasks = len(os.listdir("/proc/self/task"))
    for _ in range(30):
        for _ in loader:
            break
    assert len(os.listdir("/proc/self/task")) <= tasks + 1
    loader.close()
    assert loader.stats()["memory_used"] == 0


def test_the_gil_is_free_while_waiting(slow_server, url):
    ds = hr.open(url, **slow_server.options)
    counted = 0
    stop = threading.Event()

    def count():
        nonlocal counted
        while not stop.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    begin = time.perf_counter()
    next(iter(ds.loader(batch_size=64)))
    waited = time.perf_counter() - begin
    stop.set()
    thread.join()
    assert counted > 1000 * waited


def test_a_forked_child_opens_for_itself(dataset):
    first = next(iter(dataset.loader(batch_size=16, seed=9))).ids.tolist()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = next(iter(dataset.loader(batch_size=16, seed=9))).ids.tolist()
        except BaseException as error:
            said = repr(error)
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(read, 65536)) == first


def test_a_forked_child_that_goes_on_with_its_parents_iterator_is_told(dataset):
    loader = dataset.loader(batch_size=16)
    iterator = iter(loader)
    next(iterator)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            next(iterator)
            said = "delivered"
        except hr.Error as error:
            said = str(error)
        os.write(write, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert "forked process" in os.read(read, 65536).decode()
    assert len(list(iterator)) == len(loader) - 1


RANK = OPEN + """
rank, world, folder, state_path, kill_after = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
loader = ds.loader(global_batch_size=24, block=6, lanes=24, seed=11, remainder='pad', memory='16MiB', rank=rank, world_size=world)
if os.path.exists(state_path):
    loader.load_state_dict(json.load(open(state_path)))
with open(f'{folder}/ledger-{rank}', 'a') as ledger:
    for epoch in loader.epochs(2):
        for batch in loader:
            ledger.write(json.dumps([loader.step, batch.ids[batch.valid].tolist()]) + '\\n')
            ledger.flush()
            if rank == 0 and loader.step % 2 == 0:
                with open(state_path + '.new', 'w') as f:
                    json.dump(loader.state_dict(), f)
                os.replace(state_path + '.new', state_path)
            time.sleep(0.002)
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_with_random_rank_counts(child, tmp_path, dataset):
    """Every life is killed at a random moment and goes on with another number of ranks from the last saved state."""
    calm = dataset.loader(global_batch_size=24, block=6, lanes=24, seed=11, remainder="pad", memory="16MiB")
    want = {}
    for _ in calm.epochs(2):
        for batch in calm:
            want[calm.step] = sorted(batch.ids[batch.valid].tolist())
    rng, state = random.Random(1), tmp_path / "state.json"
    trained = {}
    for life in range(6):
        world = rng.choice([1, 2, 3])
        folder = tmp_path / f"life-{life}"
        folder.mkdir()
        start = json.loads(state.read_text()) if state.exists() else None
        ranks = [child(RANK, r, world, folder, state, 0) for r in range(world)]
        if life < 5:
            time.sleep(rng.uniform(0.8, 2.0))
            for process in ranks:
                process.kill()
        for process in ranks:
            _, err = process.communicate(timeout=120)
            assert life < 5 or process.returncode == 0, err
        done = _steps(folder, world)
        loader = dataset.loader(global_batch_size=24, remainder="pad")
        if start is not None:
            loader.load_state_dict(start)
        assert not done or min(done) == loader.step + 1, "it began behind the state"
        trained.update(done)
    assert trained == want


def _steps(folder, world):
    """step -> sample numbers, of the steps that every rank finished."""
    by_rank = []
    for rank in range(world):
        path = folder / f"ledger-{rank}"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = {}
        for line in lines:
            try:
                step, numbers = json.loads(line)
            except ValueError:
                continue  # cut by the kill
            entries[step] = numbers
        by_rank.append(entries)
    common = set.intersection(*(set(entries) for entries in by_rank)) if by_rank else set()
    return {step: sorted(i for entries in by_rank for i in entries[step]) for step in common}


GROUP = OPEN + """
import torch.distributed as dist
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/group', rank=rank, world_size=4)
options = dict(batch_size=4, seed=0, memory='64MiB')
if sys.argv[3] != '-' and rank == 2:
    exec(sys.argv[3])
try:
    batch = next(iter(ds.loader(**options)))
    print(json.dumps(batch.ids.tolist()))
except hr.MismatchError as error:
    print(error)
# A gloo thread that lets go of a Python object while the interpreter ends is killed by it ("terminate called without an
# active exception"): end the group first, as torch asks.
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("change", "named"),
    [("-", None), ("options['seed'] = 1", "seed"), ("options['block'] = 3", "block"), ("ds = hr.open('s3://data/train-{0..2}.tar')", "order_hash"), ("options['memory'] = '2MiB'", "block"),
     ("ds = hr.open('s3://data/train-{0..3}.tar', index=folder + '/copy.hridx', trust='copy')", "index")],
)
def test_ranks_that_differ_get_an_error_that_names_the_difference(child, buckets, tmp_path, change, named):
    pytest.importorskip("torch")
    if "copy" in change:  # the same samples in other objects: another index
        shutil.copytree(buckets / "data", tmp_path / "copy")
        with hr.open(str(tmp_path / "copy")) as copied:
            copied.index(save=str(tmp_path / "copy.hridx"))
    ranks = [child(GROUP, rank, tmp_path, change) for rank in range(4)]
    said = []
    for process in ranks:
        _, out, err = wait_for(process, 120)
        assert process.returncode == 0, err
        said.append(out.strip())
    if named is None:
        assert sorted(len(json.loads(line)) for line in said) == [4] * 4
        assert len({i for line in said for i in json.loads(line)}) == 16
    else:
        assert all(named in line for line in said), said
