# SPDX-License-Identifier: Apache-2.0
"""Python transforms in worker processes (``workers=n`` of a loader; docs/transforms.md).

One engine, in the trainer's process, reads and assembles batches in memory that the workers map too
(a memfd: nothing in /dev/shm). A worker is told in a small message which rows of which batch are
its, runs the transform on views of them, and writes the arrays that come out to where the batch has
its columns. So no sample's bytes go through a pipe or a pickle, and as each sample brings its own
random numbers, batches do not depend on the number of workers.

- ``start``, ``child``: the worker's side: how it comes up, and its loop.
- ``crew``: the processes, as their owner sees them: started, watched, ended.
- ``transformer``: batches in, transformed batches out, in order; who gets which memory.
- ``packing``, ``codec``: rows to columns in shared memory and back; values to what a message says.
- ``shared``, ``messages``, ``program``: arrays by offset; frames on a socket; what workers run.
"""
