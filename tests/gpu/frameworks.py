# SPDX-License-Identifier: Apache-2.0
"""JAX and CuPy on a real GPU, the image kernel, several ordinals, fork and exit. What is not installed is said and skipped."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "gpu"))

from gpu_check import patterned, say, seconds_of, write_shards

import headrace as hr
from headrace.device_image import normalize

ROW, BATCH = 64 << 10, 16
REPEATS = 3  # of a process that imports torch: 5 to 10 s each


def total(arrays, values):
    if arrays == "jax":
        import jax.numpy as jnp

        return float(jnp.sum(values[::4].astype(jnp.float32)))
    return float(values[::4].astype("float64").sum())


def framework(ds, arrays):
    if importlib.util.find_spec(arrays) is None:
        say(f"{arrays}: not installed, skipped", 0, "")
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    wrong = count = 0
    kept = []
    device = hr.Device("cuda:0", arrays=arrays)
    with ds.loader(batch_size=BATCH, decode={"bin": bytes}, device=device) as loader:
        for _ in range(30):
            for batch in loader:
                values = batch["bin"].values
                wanted = float((batch.ids % 256).sum()) * (ROW // 4)
                wrong += total(arrays, values) != wanted
                kept = [*kept[-3:], values]
                count += 1
    say(f"{arrays}: wrong batches of {count}", wrong, "", "0", wrong == 0)


def image_kernel():
    rng = np.random.default_rng(1)
    host = torch.from_numpy(rng.integers(0, 256, (256, 224, 224, 3), np.uint8))
    mask = torch.from_numpy(rng.random(256) < 0.5)
    there, mask_there = host.cuda(), mask.cuda()
    for dtype in ("float32", "float16", "bfloat16"):
        for layout in ("CHW", "channels_last", "HWC"):
            a = normalize(host, dtype=dtype, layout=layout, flip=mask)
            b = normalize(there, dtype=dtype, layout=layout, flip=mask_there).cpu()
            same = torch.equal(a, b)
            say(f"normalize to {dtype} {layout}: GPU and CPU the same", int(same), "", "1", same)
    seconds = seconds_of(
        lambda: normalize(there, dtype="float16", layout="channels_last", flip=mask_there)
    )
    say("normalize 256 x 224 x 224 to float16 on the GPU", 1e3 * seconds, "ms")


PROGRAM = """
import os, sys
import torch, numpy as np
import headrace as hr
ds = hr.open(sys.argv[1])
loader = ds.loader(batch_size=16, decode={"bin": bytes}, device=hr.Device(sys.argv[2], arrays=sys.argv[3]))
it = iter(loader)
keep = next(it)
if sys.argv[4] == "fork":
    if os.fork() == 0:
        try:
            next(iter(ds.loader(batch_size=16, decode={"bin": bytes}, device=sys.argv[2])))
        except Exception as fault:
            os._exit(0 if "fork" in str(fault).lower() else 5)
        os._exit(6)
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def processes(folder):
    tree = str(Path(__file__).parents[2] / "python")
    cases = [("exit with live arrays", "cuda:0", a, "exit", {}) for a in ("torch", "dlpack")]
    cases.append(("a forked child is told", "cuda:0", "torch", "fork", {}))
    if torch.cuda.device_count() > 1:
        cases.append(("second GPU", "cuda:1", "torch", "exit", {}))
        cases.append(
            ("CUDA_VISIBLE_DEVICES=1", "cuda:0", "torch", "exit", {"CUDA_VISIBLE_DEVICES": "1"})
        )
    for name, place, arrays, way, extra in cases:
        failed = 0
        for _ in range(REPEATS):
            environment = {**os.environ, "PYTHONPATH": tree, **extra}
            command = [sys.executable, "-c", PROGRAM, str(folder), place, arrays, way]
            failed += subprocess.run(command, env=environment, timeout=120).returncode != 0
        say(f"{name} ({arrays}): failed of {REPEATS}", failed, "", "0", failed == 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        write_shards(root, 4, 64, lambda i: {"bin": patterned(i % 256, ROW)})
        image_kernel()
        with hr.open(str(root)) as ds:
            for arrays in ("jax", "cupy"):
                framework(ds, arrays)
        processes(root)


if __name__ == "__main__":
    main()
