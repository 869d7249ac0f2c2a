# What a user or a developer types. Everything is set up by tools/setup, once; a second run finds it done.
PYTHON := .venv/bin/python
JOBS ?= $(shell nproc)

.PHONY: demo test test-long test-exhaustive faults sim gpu wheel lint asan tsan fuzz soak bench quality native train-study clean
.DEFAULT_GOAL := test

# Streams real images out of an S3 server on this machine, kills the trainer half way, resumes, and reports.
demo: native
	@$(PYTHON) -m headrace demo

# Lint, C++ unit tests, then the Python and end-to-end tests.
test: native lint
	@tools/setup dev
	ctest --test-dir build/dev --output-on-failure -j $(JOBS)
	$(PYTHON) -m pytest

# Every small world, of which ctest takes a part: about 10 minutes of one core. docs/proofs.md has the counts.
test-exhaustive:
	@tools/setup dev
	HR_EXHAUSTIVE=full build/dev/tests/exhaustive/exhaustive_test

# Everything that a network and a store can do wrong, on purpose (tests/faults); writes docs/reliability.md. 7 minutes.
faults: native
	$(PYTHON) tests/faults/fault_run.py --jobs 3 --results tests/faults/results/grid.json; status=$$?; \
	$(PYTHON) tests/faults/fault_report.py; exit $$status

# The release build of the extension and of headrace-serve, placed in python/headrace.
native:
	@tools/setup native

lint:
	@tools/setup venv
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) tools/check_tree

# A wheel that runs on other machines, tried in a clean environment.
wheel: native
	@$(PYTHON) tools/check_wheel dist

asan tsan:
	@tools/setup $@
	ctest --test-dir build/$@ --output-on-failure -j $(JOBS)

# Every fuzz target for FUZZ_SECONDS of CPU each (tools/fuzz --help says where seeds and findings lie).
FUZZ_SECONDS ?= 60
fuzz:
	@tools/setup fuzz
	$(PYTHON) tools/fuzz --seconds $(FUZZ_SECONDS) --jobs $(JOBS)

# What takes too long for every day; results are recorded in docs/proofs.md.
CYCLES ?= 2000
test-long: native
	$(PYTHON) tests/soak/soak.py kills --cycles $(CYCLES)
	$(PYTHON) tests/soak/soak.py drill
	$(PYTHON) tests/soak/soak.py elastic

# Whole jobs in virtual time against a model (tests/sim). One seed again: headrace_sim --seed N --trace.
SEEDS ?= 100000
sim:
	@tools/setup dev
	build/dev/tests/sim/headrace_sim --seeds 0 $(SEEDS) --jobs $(JOBS)
	build/dev/tests/sim/headrace_sim --fleet --seeds 0 20000 --jobs $(JOBS)

# All that needs a GPU, in at most ten minutes (docs/gpu.md); says so and ends well where there is none.
gpu: native
	$(PYTHON) bench/gpu/run.py

# Many loaders under one memory limit (needs root), and an hour of mixed load with faults on one disk cache, which
# loaders and a mount share.
SOAK_SECONDS ?= 3600
soak: native
	$(PYTHON) tests/soak/soak.py cgroup
	$(PYTHON) tests/soak/soak.py cache --seconds $(SOAK_SECONDS)

# Every table of bench/README.md (bench/tables); PEERS is what bench/peers/setup made, without it they are left out.
PEERS ?= build/peers
bench: native
	cmake --preset release && cmake --build build/release --target bench_wall bench_store
	bench/tables build/bench $(PEERS)

# Does the order cost accuracy? Three hours of two cores; bench/train_study/README.md. Goes on after a cut.
train-study: native
	nice $(PYTHON) bench/train_study/study.py --scale full --jobs $(JOBS)
	$(PYTHON) bench/train_study/verdict.py bench/train_study/results/full.jsonl

# How well headrace's and other loaders' orders shuffle: docs/quality.md (bench/quality/README.md).
quality: native
	bench/quality/setup
	$(PYTHON) bench/quality/measure.py
	$(PYTHON) bench/quality/tables.py
	build/peers-litdata/bin/python bench/quality/plot.py

clean:
	rm -rf build dist .venv python/headrace/_core*.so python/headrace/bin
