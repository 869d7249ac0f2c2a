# SPDX-License-Identifier: Apache-2.0
"""How a worker process comes up: run as a file by a fresh interpreter, with a socket's number.

Only the standard library before the owner's ``sys.path`` is set, so that the same headrace is
imported as in the owner.
"""

import faulthandler
import json
import mmap
import os
import signal
import socket
import sys


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    shared, program, crash = descriptors
    # Where Python code stood when this process crashes, or is found to hang: for the owner's error.
    faulthandler.enable(file=crash, all_threads=False)
    faulthandler.register(signal.SIGRTMAX, file=crash, all_threads=True)
    # Ctrl-C is for the owner, who then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stored = os.pread(program, os.fstat(program).st_size, 0)
    os.close(program)
    head, _, pickled = stored.partition(b"\n")
    setup = json.loads(head)
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["arguments"]

    from headrace.workers.child import run

    memory = mmap.mmap(shared, 0)  # all of it
    os.close(shared)
    run(connection, memory, setup["main"], pickled)


if __name__ == "__main__":
    main()
