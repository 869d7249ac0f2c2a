# SPDX-License-Identifier: Apache-2.0
"""`make gpu` as a test where there is a GPU; elsewhere only that it says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/gpu"), str(ROOT / "tests/fake_cuda")]

import run as gpu_run  # noqa: E402
from fake_gpu import has_compiler, library  # noqa: E402


def has_gpu():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def run(*words, **environment):
    command = [sys.executable, str(ROOT / "bench/gpu/run.py"), *words]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=620
    )


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_well():
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: ")


@pytest.mark.skipif(has_gpu() or not has_compiler(), reason="there is a GPU, or no compiler")
def test_a_gpu_that_torch_does_not_see_is_no_reason_to_skip(tmp_path):
    (tmp_path / "libcuda.so.1").symlink_to(library())
    done = run(LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 1
    assert "1 GPU(s), but torch" in done.stdout


def lines_of(tmp_path, program, seconds=60.0):
    path = tmp_path / "check.py"
    path.write_text(program)
    return gpu_run.run("a check", [str(path)], seconds)


def test_what_a_check_said_before_it_failed_is_kept_and_the_rest_is_shown(tmp_path, capsys):
    said = "import gpu_check; gpu_check.say('x', 1, 's', '> 0', True)\n"
    assert [line["ok"] for line in lines_of(tmp_path, said)] == [True]
    lines = lines_of(tmp_path, said + "print('{no line'); raise SystemExit('no such device')")
    assert [(line["name"], line["ok"]) for line in lines] == [("x", True), ("exit status 1", False)]
    shown = capsys.readouterr().out
    assert "| no such device" in shown
    assert "| {no line" in shown
    assert lines_of(tmp_path, "pass")[0]["name"] == "said nothing"
    late = lines_of(tmp_path, "import time; time.sleep(60)", seconds=0.2)
    assert [(line["name"], line["ok"]) for line in late] == [("not done in 0 s", False)]


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_every_batch_is_right_on_a_gpu():
    done = run("--only", "soak", "frameworks")
    assert done.returncode == 0, done.stdout + done.stderr
