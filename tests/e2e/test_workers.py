# SPDX-License-Identifier: Apache-2.0
"""Transforms in worker processes: the same batches for any number of them, and what happens when one dies."""

import contextlib
import gc
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import worker_transforms as f

import headrace as hr


def said(value):
    """A value's types, shapes and bytes, for a hash."""
    if isinstance(value, np.ndarray):
        plain = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return ["array", value.dtype.str, value.shape, hashlib.sha256(plain).hexdigest()]
    if isinstance(value, hr.Ragged):
        return ["ragged", value.kind, said(value.values), said(value.offsets), said(value.shapes)]
    if isinstance(value, dict | hr.Batch):
        return [type(value).__name__, [[name, said(item)] for name, item in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [said(item) for item in value]]
    if isinstance(value, f.Box):
        return ["box", said(value.corner), value.name]
    if type(value).__module__ == "torch":
        return ["tensor", str(value.dtype), tuple(value.shape), value.flatten().tolist()]
    return [type(value).__name__, repr(value)]


def digest(batches):
    whole = hashlib.sha256()
    for batch in batches:
        ids = batch.ids.tolist() if isinstance(batch, hr.Batch) else None
        whole.update(repr([ids, said(batch)]).encode())
    return whole.hexdigest()


def two_epochs(loader):
    for _ in loader.epochs(2):
        yield from loader


@contextlib.contextmanager
def nothing_left_behind():
    """No process and no descriptor more than before (of those that workers need)."""
    gc.collect()
    before = children(), descriptors()
    yield
    gc.collect()
    assert (children(), descriptors()) == before


def descriptors():
    """How many memfds and Unix sockets; the engine keeps connections to stores for later."""
    unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    names = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    sockets = [name for name in names if name.startswith("socket:") and name[8:-1] in unix]
    return len(sockets), sorted(name for name in names if "memfd:" in name)


def children():
    return sorted(int(p) for t in os.listdir("/proc/self/task") for p in _children_of(t))


def _children_of(task):
    with contextlib.suppress(OSError):
        return Path(f"/proc/self/task/{task}/children").read_text().split()
    return []


@pytest.mark.parametrize("options", [
    {"transform": f.every_kind},
    {"transform": f.tensors},
    {"transform": f.pair},
    {"transform": f.plain, "collate": f.collate_lists},
    {"transform": f.plain, "device": "cpu"},
    {"transform": f.huge_ragged, "memory": "8MiB"},
], ids=["every kind", "tensors", "tuples", "collate", "device", "little memory"])  # fmt: skip
def test_batches_are_the_same_for_any_number_of_workers(dataset, options):
    pytest.importorskip("torch")
    found = {}
    for workers in (0, 2, 3) if options.get("memory") else (0, 1, 2, 3):
        with nothing_left_behind(), dataset.loader(batch_size=32, seed=5, workers=workers, **options) as loader:
            found[workers] = digest(two_epochs(loader))
    assert len(set(found.values())) == 1, found


def test_random_functions_of_libraries_belong_to_the_sample_too(dataset):
    pytest.importorskip("torch")
    found = set()
    for workers in (1, 2, 3):
        with dataset.loader(batch_size=32, seed=5, workers=workers, transform=f.library_randomness) as loader:
            found.add(digest(loader))
    assert len(found) == 1


def test_a_mixture_is_the_same_with_workers(dataset, server):
    found = set()
    for workers in (0, 2):
        other = hr.open("s3://data/train-{0..1}.tar", **server.options)
        mixed = hr.mix({"all": dataset, "half": other}, weights=[0.7, 0.3])
        with mixed.loader(batch_size=20, seed=1, transform=f.plain, workers=workers, epoch_size=400) as loader:
            found.add(digest(loader))
    assert len(found) == 1


def test_a_state_taken_in_mid_prefetch_resumes_with_other_numbers_of_workers(dataset):
    with dataset.loader(batch_size=16, seed=3, transform=f.plain) as loader:
        whole = [said([batch.ids, batch]) for batch in two_epochs(loader)]
    for first, second in ((2, 3), (3, 0), (0, 1)):
        with dataset.loader(batch_size=16, seed=3, transform=f.plain, workers=first) as loader:
            batches = two_epochs(loader)
            got = [said([batch.ids, batch]) for _, batch in zip(range(11), batches, strict=False)]
            state = json.loads(json.dumps(loader.state_dict()))
        with dataset.loader(batch_size=16, seed=3, transform=f.plain, workers=second) as loader:
            loader.load_state_dict(state)
            got += [said([batch.ids, batch]) for batch in two_epochs(loader)]
        assert got == whole


def test_load_state_dict_in_a_running_loader_keeps_its_processes(dataset):
    with dataset.loader(batch_size=16, transform=f.plain, workers=2) as loader:
        next(iter(loader))
        state, before = loader.state_dict(), children()
        first = [said(batch) for _, batch in zip(range(3), loader.resume(), strict=False)]
        loader.load_state_dict(state)
        again = [said(batch) for _, batch in zip(range(3), loader, strict=False)]
        assert (again, children()) == (first, before)


def test_what_the_transform_raises_comes_with_its_traceback_and_the_samples_key(dataset):
    for workers in (0, 2):
        with dataset.loader(batch_size=16, shuffle=False, transform=f.refuses_number_100, workers=workers) as loader:
            got = []
            with pytest.raises(LookupError, match="no label for s/000100") as caught:
                for batch in loader:
                    got.append(batch.ids.tolist())
            assert len(got) == 100 // 16  # in order: all before the batch of sample 100
            notes = "\n".join(caught.value.__notes__)
            assert "transform sample 's/000100' (number 100, row 4 of the batch at epoch 0 position 96)" in notes
            if workers:
                assert 'worker_transforms.py", line' in notes
                assert "in refuses_number_100" in notes
            assert loader.position == 96


def test_an_exception_that_cannot_be_brought_over_comes_as_text(dataset):
    loader = dataset.loader(batch_size=16, transform=f.raises_odd, workers=1)
    with loader, pytest.raises(hr.WorkerError, match=r"(?s)in worker 0:.*Odd: an odd one"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_iteration_in_a_transform_does_not_end_the_loop(dataset, workers):
    loader = dataset.loader(batch_size=16, transform=f.stops, workers=workers)
    with loader, pytest.raises(RuntimeError, match="transform raised StopIteration"):
        list(loader)


def test_system_exit_in_a_worker_does_not_end_the_trainer(dataset):
    loader = dataset.loader(batch_size=16, transform=f.leaves, workers=1)
    with loader, pytest.raises(hr.WorkerError, match="SystemExit: 3"):
        list(loader)


@pytest.mark.parametrize(("transform", "text"), [
    (f.not_the_same_names, "collate: transform gave no 'b' for sample"),
    (f.a_list, "collate: transform gave list for a sample; return a dict"),
])  # fmt: skip
def test_wrong_results_are_told_the_same_way_with_workers(dataset, transform, text):
    for workers in (0, 2):
        loader = dataset.loader(batch_size=600, transform=transform, workers=workers)
        with loader, pytest.raises(hr.OptionError, match=text):
            list(loader)


DEATHS = {
    "kill_itself": r"killed by SIGKILL, often by the kernel for lack of memory",
    "crash": r"(?s)killed by SIGSEGV; native code.*in crash",  # with where its Python code stood
    "end_process": r"ended with exit status 7",
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_worker_that_dies_is_named_with_its_sample_and_the_loader_goes_on_after_it(dataset, tmp_path, how):
    options = {"batch_size": 16, "shuffle": False, "workers": 2}
    with dataset.loader(transform=f.plain, **options) as loader:
        whole = [said(batch) for batch in loader]
    with nothing_left_behind(), dataset.loader(transform=f.Once(tmp_path / "mark", how), **options) as loader:
        got = []
        with pytest.raises(hr.WorkerError, match=DEATHS[how]) as caught:
            for batch in loader:
                got.append(said(batch))
        assert "transform sample 's/000100' (number 100, row 4 of" in str(caught.value)
        assert " in worker " in str(caught.value)
        got += [said(batch) for batch in loader.resume()]
        assert got == whole
        del batch, caught  # the error's frames hold batches


@pytest.mark.parametrize("how", ["sleep_long", "sleep_long_with_the_gil"])
def test_a_worker_that_hangs_is_named_with_its_sample_and_where_it_stands(dataset, tmp_path, how):
    options = {"batch_size": 16, "shuffle": False, "workers": 2, "worker_timeout": 1.5}
    with nothing_left_behind(), dataset.loader(transform=f.Once(tmp_path / "mark", how), **options) as loader:
        with pytest.raises(hr.TimeoutError, match=rf"(?s)sample 's/000100'.*not done after 1.5 s.*in {how}"):
            list(loader)
        assert sum(len(batch.ids) for batch in loader.resume()) == 608 - 96  # from the batch of sample 100 on


def test_huge_results_pass_through_little_memory(dataset):
    """32 MB a batch through a loader of 4 MiB."""
    with dataset.loader(batch_size=32, shuffle=False, memory="4MiB", transform=f.huge, workers=2) as loader:
        rows = 0
        for batch in loader:
            assert (batch["x"][:, -1] == batch.ids % 251).all()
            rows += int(batch.valid.sum())
        assert rows == 600
        assert loader.stats()["memory_peak"] <= 4 << 20


def test_batches_outlive_the_loader_and_its_processes(dataset):
    with dataset.loader(batch_size=16, shuffle=False, transform=f.plain, workers=2) as loader:
        batches = list(loader)
    del loader
    gc.collect()
    assert [batch["id"].tolist() for batch in batches] == [batch.ids.tolist() for batch in batches]
    batches[3]["id"][:] = 7  # and are the user's
    assert batches[4]["id"].tolist() == batches[4].ids.tolist()


def test_the_work_is_done_in_other_processes_that_stay(dataset):
    with dataset.loader(batch_size=64, transform=f.tells_its_process, workers=2) as loader:
        seen = {int(p) for batch in two_epochs(loader) for p in batch["process"]}
        assert len(seen) == 2
        assert os.getpid() not in seen
        assert seen <= set(children())
        assert seen == {int(p) for batch in loader for p in batch["process"]}


def test_workers_leave_nothing_however_the_loader_ends(dataset):
    def break_it(loader):
        for _ in loader:
            break

    def drop_it(loader):
        return next(iter(loader))["id"]

    with nothing_left_behind():
        for end in (break_it, drop_it, list) * 3:
            end(dataset.loader(batch_size=16, transform=f.plain, workers=2))
            gc.collect()
    with nothing_left_behind():
        loader = dataset.loader(batch_size=16, transform=f.plain, workers=3)
        next(iter(loader))
        loader.close()
        loader.close()
    assert not [name for name in os.listdir("/dev/shm") if "headrace" in name]


def test_a_fork_of_the_trainer_takes_no_worker_along(dataset):
    with dataset.loader(batch_size=16, transform=f.plain, workers=2) as loader:
        batches = iter(loader)
        first = next(batches)["id"].tolist()
        pid = os.fork()
        if pid == 0:
            del batches, loader
            gc.collect()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(first) + sum(len(batch.ids) for batch in batches) == 592  # 600 without the last, short one


def test_functions_without_a_name_need_cloudpickle(dataset, monkeypatch):
    options = {"batch_size": 16, "workers": 1}
    shift = 5
    with dataset.loader(transform=lambda sample: {"x": f.number(sample) + shift}, **options) as loader:
        monkeypatch.setitem(sys.modules, "cloudpickle", None)
        with pytest.raises(hr.OptionError, match=r"(?s)transform=<function .*top level of a module.*cloudpickle"):
            next(iter(loader))
    monkeypatch.undo()
    pytest.importorskip("cloudpickle")
    with dataset.loader(transform=lambda sample: {"x": f.number(sample) + shift}, **options) as loader:
        batch = next(iter(loader))
        assert (batch["x"] == batch.ids + 5).all()


@pytest.mark.parametrize(("options", "text"), [
    ({"workers": 2}, "workers=2 needs transform="),
    ({"workers": -1, "transform": f.plain}, "workers=-1"),
    ({"workers": 1, "transform": f.plain, "worker_timeout": "soon"}, "worker_timeout='soon' is not a number of seconds"),
])  # fmt: skip
def test_wrong_options_are_told(dataset, options, text):
    with pytest.raises(hr.OptionError, match=text):
        dataset.loader(batch_size=4, **options)


# --- whole programs -------------------------------------------------------------------------------

SCRIPT = """
import headrace as hr, os, sys, time

def transform(sample):
    if "slow" in sys.argv:
        time.sleep(600)
    return {"process": os.getpid(), "text": bytes(sample["txt"])}

GUARD
    ds = hr.open("s3://data/train-{0..3}.tar")
    loader = ds.loader(batch_size=64, transform=transform, workers=2, shuffle=False)
    batches = iter(loader)
    if "slow" not in sys.argv:
        batch = next(batches)
        print(batch["text"][0].decode(), *sorted(set(batch["process"].tolist())), flush=True)
    else:
        print("waiting", flush=True)
        try:
            next(batches)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
"""


@pytest.fixture
def program(tmp_path, child):
    """Runs the script as a file, as users do."""

    def run(guard, *words, script=SCRIPT):
        path = tmp_path / "program.py"
        path.write_text(script.replace("GUARD", guard))
        code = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        return child(code, path, *words)

    return run


def gone(pid):
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.02)
    return not os.path.exists(f"/proc/{pid}")


def test_a_script_with_its_transform_ends_cleanly_with_an_open_iterator(program):
    process = program('if __name__ == "__main__":')
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("sample 0 é ")
    assert all(gone(pid) for pid in out.split()[-2:])


def test_a_script_without_the_guard_is_told_so(program):
    process = program("if True:")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "put what the program does under if __name__ == '__main__':" in err
    assert "WorkerError: start worker" in err


def workers_of(pid):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    raise AssertionError("no workers")


def test_ctrl_c_is_the_trainers_and_ends_workers_that_are_busy(program):
    heed = SCRIPT.replace("import headrace", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nimport headrace")
    process = program('if __name__ == "__main__":', "slow", script=heed)
    assert process.stdout.readline() == "waiting\n", process.stderr.read()
    pids = workers_of(process.pid)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert all(gone(pid) for pid in pids)


def test_workers_end_when_their_trainer_is_killed(program):
    process = program('if __name__ == "__main__":', "slow")
    assert process.stdout.readline() == "waiting\n", process.stderr.read()
    pids = workers_of(process.pid)
    time.sleep(1)
    process.kill()
    process.communicate(timeout=60)
    assert all(gone(pid) for pid in pids)
