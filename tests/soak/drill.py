# SPDX-License-Identifier: Apache-2.0
"""The host drill: 4 hosts x 2 ranks stream from one server; hosts are lost; the job goes on with those that are left.

Where the kernel permits it (root), a host is a network namespace with an address of its own, joined to the server by a
bridge; else it is a process group. Three lives:

    1. 4 hosts, 8 ranks: in the middle of epoch 0 one host is killed (SIGKILL to all its processes)
    2. 3 hosts, 6 ranks: epoch 0 ends; in the middle of epoch 1 a second host loses its network and then dies
    3. 4 hosts, 8 ranks: to the end of epoch 1

After each loss the launcher ends what is left, as torchrun does, and starts anew from the newest state that all ranks had.
`headrace audit` then judges all ledgers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job import Job, Life, common_state, fork, last_state, train, wait
from kills import summary

import headrace as hr
from headrace.serve import Server

RANKS_A_HOST, BATCH = 2, 4
NET = "10.213.77"
CLONE_NEWNET = 0x40000000
WAIT_SECONDS_MAX = 120.0


@dataclass
class Host:
    """``namespace``: the network it lives in; "" where hosts are process groups only."""

    number: int
    namespace: str = ""
    pid: int = 0  # of its first process, which leads the group
    ranks: list[int] = field(default_factory=list)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Network namespaces joined by a bridge, which has the address NET.1; [] where that is not permitted."""
    tag = f"hr{os.getpid() % 100000}"
    bridge, made = f"{tag}b", []
    try:
        try:
            ip("link", "add", bridge, "type", "bridge")
            ip("addr", "add", f"{NET}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            for number in range(count):
                name, outer, inner = f"{tag}n{number}", f"{tag}o{number}", f"{tag}i{number}"
                ip("netns", "add", name)
                made.append(name)
                ip("link", "add", outer, "type", "veth", "peer", "name", inner)
                ip("link", "set", inner, "netns", name)
                ip("link", "set", outer, "master", bridge, "up")
                ip("-n", name, "addr", "add", f"{NET}.{number + 2}/24", "dev", inner)
                ip("-n", name, "link", "set", inner, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError):
            yield []
            return
        yield made
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


def enter(namespace: str) -> None:
    """This process and its children live in that network from now on."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


def set_link(host: Host, up: bool) -> None:
    """The host's cable."""
    outer = host.namespace.replace("n", "o")
    ip("link", "set", outer, "up" if up else "down")


def host_main(job: Job, life: Life, host: Host) -> None:
    """A host's first process: its ranks are its children, all in one process group."""
    os.setpgid(0, 0)
    if host.namespace:
        enter(host.namespace)
    pids = [fork(lambda rank=rank: train(job, life, rank)) for rank in host.ranks]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise SystemExit(f"host {host.number}: {codes}")


def start_hosts(
    job: Job, number: int, hosts: list[Host], state: dict[str, Any] | None, epochs: int
) -> Life:
    """A life on these hosts: ranks go to hosts in order, as torchrun numbers them."""
    life = Life(number, RANKS_A_HOST * len(hosts), BATCH, state, epochs, run=f"drill-{number}")
    life.states(job).mkdir(parents=True)
    for place, host in enumerate(hosts):
        host.ranks = [place * RANKS_A_HOST + rank for rank in range(RANKS_A_HOST)]
        host.pid = fork(lambda host=host: host_main(job, life, host))
        life.pids.append(host.pid)
    return life


def kill_host(host: Host) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(host.pid, signal.SIGKILL)


def wait_for(job: Job, life: Life, epoch: int, position: int, ranks: list[int]) -> None:
    """Until these ranks have saved a state at or behind a place."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        states = [last_state(job, life, rank) for rank in ranks]
        if all(s is not None and (s["epoch"], s["position"]) >= (epoch, position) for s in states):
            return
        time.sleep(0.01)
    raise SystemExit(
        f"life {life.number}: not at epoch {epoch} position {position} in {WAIT_SECONDS_MAX} s"
    )


def drill(samples: int, sample_bytes: int, *, namespaced: bool = True) -> dict[str, Any]:
    words = [
        "--synthetic", f"data=samples={samples},bytes={sample_bytes},shard=4MB,format=tar,order=sorted",
        "--profile", "s3",
    ]  # fmt: skip
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(namespaces(4)) if namespaced else []
        words += ["--host", f"{NET}.1"] if names else []
        server = stack.enter_context(Server(anonymous=True, words=words))
        address = f"{NET}.1" if names else "127.0.0.1"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = _job(f"http://{address}:{server.port}", folder)
        hosts = [Host(number, names[number] if names else "") for number in range(4)]
        lives = _lives(job, hosts, samples)
        audit = hr.audit(job.ledgers)
    return {
        "hosts": "network namespaces" if names else "process groups",
        "lives": lives, **summary(audit), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _job(endpoint: str, folder: Path) -> Job:
    options = {"endpoint_url": endpoint, "anonymous": True}
    index = folder / "data.hridx"
    os.waitpid(fork(lambda: hr.open("s3://data/", **options).index(save=str(index)) and None), 0)
    loader = {
        "seed": 7,
        "block": 6,
        "lanes": 168,
        "memory": "16MiB",
        "decode": {"cls": int},
        "remainder": "drop",
    }
    return Job("s3://data/", {**options, "index": str(index)}, loader, folder, step_seconds=0.005)


def _lives(job: Job, hosts: list[Host], samples: int) -> list[dict[str, Any]]:
    said = []

    def lost(life: Life, host: Host) -> dict[str, Any]:
        """A host is gone: what is left is ended, and the newest common state is taken."""
        kill_host(host)
        for other in hosts:
            if other.pid in life.pids:
                kill_host(other)
        wait(life)
        state = common_state(job, life)
        assert state is not None
        where = {"epoch": state["epoch"], "position": state["position"]}
        said.append({"ranks": life.world, "lost_host": host.number, "resumed_from": where})
        return state

    everyone = list(range(8))
    life = start_hosts(job, 1, hosts, None, 2)
    wait_for(job, life, 0, samples // 3, everyone)
    state = lost(life, hosts[3])

    life = start_hosts(job, 2, hosts[:3], state, 2)
    wait_for(job, life, 1, samples // 3, everyone[:6])
    if hosts[1].namespace:
        set_link(hosts[1], False)
        time.sleep(0.3)  # its ranks wait for a network that is not there; the others go on
    state = lost(life, hosts[1])
    if hosts[1].namespace:
        set_link(hosts[1], True)

    life = start_hosts(job, 3, hosts, state, 2)
    if any(codes := wait(life)):
        raise SystemExit(f"the last life failed: {codes}")
    said.append({"ranks": life.world})
    return said
