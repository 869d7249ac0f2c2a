# SPDX-License-Identifier: Apache-2.0
"""Ranks of a job in a process that is killed in the middle, and those that go on from their states.

A batch counts when its rows and the state behind it arrived here; what the killed process did after
that is lost with it, as in a job whose last checkpoint was before.
"""

import json
import multiprocessing
import signal

from every_format import digest

import headrace as hr

# One process imports everything once and forks the ones that are killed; it starts no threads.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["killed_reader"])


def rows_of(batch):
    """(id, digests of the values) of the valid rows."""
    for row, number in enumerate(batch.ids.tolist()):
        if batch.valid[row]:
            yield number, {name: digest(batch[name][row]) for name in batch}


def _read(connection, url, opened, options, states, stop_after):
    """All ranks in turns; after `stop_after` batches of each, reads on and waits to be killed."""
    ranks = range(options["world_size"])
    with hr.open(url, **opened) as ds:
        loaders = [ds.loader(rank=rank, **options) for rank in ranks]
        for loader, state in zip(loaders, states, strict=True):
            if state is not None:
                loader.load_state_dict(json.loads(state))
        batches = {rank: iter(loaders[rank]) for rank in ranks}
        turn = 0
        while batches:
            for rank, it in list(batches.items()):
                batch = next(it, None)
                if batch is None:
                    del batches[rank]
                    continue
                state = json.dumps(loaders[rank].state_dict())
                connection.send((rank, list(rows_of(batch)), state))
            turn += 1
            if turn == stop_after:
                for it in batches.values():
                    next(it, None)  # delivered, and not in any state
                connection.send("kill me")
                signal.pause()
        for loader in loaders:
            loader.close()
    connection.send("over")


def _life(url, opened, options, states, stop_after):
    """Rows of one process; `states` become those of its ranks."""
    here, there = _PROCESSES.Pipe()
    process = _PROCESSES.Process(
        target=_read, args=(there, url, opened, options, states, stop_after)
    )
    process.start()
    there.close()
    try:
        while not isinstance(message := here.recv(), str):
            rank, rows, states[rank] = message
            yield from rows
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL or message == "over"


def killed_and_resumed(url, opened, options, stop_after):
    """Rows of all ranks, whose process gets SIGKILL after `stop_after` batches of each; 0: is not."""
    states = [None] * options["world_size"]
    if stop_after:
        yield from _life(url, opened, options, states, stop_after)
    yield from _life(url, opened, options, states, 0)
