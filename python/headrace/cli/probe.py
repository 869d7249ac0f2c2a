# SPDX-License-Identifier: Apache-2.0
"""``headrace probe URL``: measures a store and predicts how long GPUs will wait for it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from headrace.cli.output import (
    Anonymous,
    Endpoint,
    Index,
    Json,
    Profile,
    Region,
    Url,
    print_json,
    talk,
)
from headrace.errors import OptionError
from headrace.options import Faults, format_size, parse_size
from headrace.probe import Probe, Work
from headrace.probe.prices import DISTANCES

__all__ = ["Distance", "Gpus", "PriceWords", "distance_of", "probe", "verdict_text", "work_of"]

Batch = Annotated[int | None, typer.Option(help="samples of a batch on each rank")]
StepMs = Annotated[float | None, typer.Option(help="the trainer's time for a step")]
Gpus = Annotated[int | None, typer.Option(help="GPUs, a rank each, on this machine")]
Ranks = Annotated[int | None, typer.Option(help="ranks of the whole job; default: --gpus")]
Memory = Annotated[str | None, typer.Option(help="of each rank's loader, e.g. 2GiB")]
PriceWords = Annotated[
    str | None, typer.Option("--price", help="dollars: get=0.0004,gb=0.02 (1,000 GETs, a GB)")
]
Distance = Annotated[
    str, typer.Option("--from", help="where the trainer stands: " + ", ".join(DISTANCES))
]

_MEMORY = "1GiB"


def probe(
    url: Url,
    batch: Batch = None,
    step_ms: StepMs = None,
    gpus: Gpus = None,
    ranks: Ranks = None,
    memory: Memory = None,
    max_seconds: Annotated[float, typer.Option(help="spent at most")] = 30.0,
    max_bytes: Annotated[str, typer.Option(help="read at most")] = "4GiB",
    price: PriceWords = None,
    distance: Distance = DISTANCES[0],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask before measuring")] = False,
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
) -> None:
    """Measures the store that holds URL, and the loader on this data; with --batch and --step-ms
    says how long the GPUs will wait, what an epoch costs, and what to change. Says first what it
    may spend."""
    work = work_of("probe", batch, step_ms, gpus, ranks, memory)
    given = {
        "endpoint_url": endpoint_url,
        "region": region,
        "profile": profile,
        "anonymous": anonymous or None,
        "index": index,
    }
    measuring = Probe(
        url,
        work=work,
        seconds=max_seconds,
        nbytes=_size("max_bytes", max_bytes),
        price=price,
        distance=distance_of(distance),
        memory=_size("memory", memory or _MEMORY),
        batch=batch,
        **{name: value for name, value in given.items() if value is not None},
    )
    talk.print(f"probe {url}: {measuring.statement}", highlight=False)
    if not yes and talk.is_terminal and sys.stdin.isatty():
        typer.confirm("go on?", default=True, abort=True, err=True)
    with talk.status("probing") as status:
        document = measuring.run(lambda text: status.update(f"probing: {text}"))
    if json_out:
        print_json(document)
    else:
        Console(highlight=False).print(probe_text(document))


def work_of(
    action: str,
    batch: int | None,
    step_ms: float | None,
    gpus: int | None,
    ranks: int | None,
    memory: str | None,
) -> Work | None:
    """The training job; None where no step time is given.

    Raises:
        OptionError: listing every fault.
    """
    faults = Faults(action)
    faults.count("batch", batch, least=1)
    faults.count("gpus", gpus, least=1)
    faults.count("ranks", ranks, least=1)
    faults.size("memory", memory)
    if step_ms is not None and not 0 < step_ms < 1e7:
        faults.add(f"step_ms={step_ms:g} is not a number of milliseconds above 0")
    if step_ms is not None and batch is None:
        faults.add("--step-ms needs --batch: the samples of a batch on each rank")
    if step_ms is None and (gpus is not None or ranks is not None) and action == "probe":
        faults.add("--gpus and --ranks need --batch and --step-ms")
    machine = gpus if gpus is not None else 1
    job = ranks if ranks is not None else machine
    if gpus is not None and job % machine and job > machine:
        faults.add(f"--ranks {job} are not a multiple of --gpus {machine}")
    faults.raise_any()
    if step_ms is None or batch is None:
        return None
    return Work(batch, step_ms, min(machine, job), job, parse_size(memory or _MEMORY))


def _size(name: str, value: str) -> int:
    faults = Faults("probe")
    size = faults.size(name, value)
    faults.raise_any()
    return size or 0


def distance_of(word: str) -> str:
    """Checked."""
    if word not in DISTANCES:
        raise OptionError(f"--from {word!r} is not one of {', '.join(DISTANCES)}")
    return word


# --- text -----------------------------------------------------------------------------------


def probe_text(document: dict[str, Any]) -> Group:
    """For people; narrow enough for 80 columns."""
    parts: list[Any] = [_facts(document), Text(), _climb_table(document)]
    if document["range_sizes"]:
        parts += [Text(), _sizes_table(document["range_sizes"])]
    if document.get("verdict"):
        parts += [Text(), verdict_text(document)]
    return Group(*parts)


def _rows() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _facts(d: dict[str, Any]) -> Table:
    table, first, whole = _rows(), d["first_byte_ms"], d["whole_ms"]
    samples = "" if d["samples"] is None else f", {d['samples']:,} samples"
    spent = d["spent"]
    usd = "" if spent["usd"] is None else f", ${spent['usd']:.4f}"
    table.add_row("data", f"{d['objects']:,} objects{samples}, {format_size(d['bytes'])}")
    table.add_row("first byte", f"{_quantiles(first)}  ({first['reads']:,} reads)")
    table.add_row("whole", f"{_quantiles(whole)}  (of {format_size(whole['bytes'])})")
    table.add_row("connection", f"{_rate(d['per_connection_MBps'])} MB/s each")
    table.add_row("knee", _knee_text(d))
    table.add_row("GETs", _limit_text(d["get_limit"]))
    table.add_row("loader", _loader_text(d))
    if d["note"]:
        table.add_row("note", d["note"])
    if d["failed"] or d["throttled"]:
        table.add_row(
            "faults",
            f"{d['throttled']:,} reads turned away, {d['failed']:,} failed; the first: "
            f"{d['first_failure'] or 'in the loader, which tried again'}",
        )
    if spent["cut_short"]:
        table.add_row("cut short", f"by time or bytes: {', '.join(spent['cut_short'])}")
    table.add_row(
        "spent",
        f"{spent['seconds']:.1f} s, {format_size(spent['bytes'])}, {spent['gets']:,} GETs{usd}",
    )
    return table


def _quantiles(of: dict[str, Any]) -> str:
    return "  ".join(f"{name} {_rate(of[name])}" for name in ("p50", "p90", "p99", "max")) + " ms"


def _rate(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _knee_text(d: dict[str, Any]) -> str:
    knee = d["knee"]
    if not knee["requests"]:
        return "not found: time or bytes were over"
    return (
        f"{knee['requests']} in flight: {_rate(knee['MBps'])} MB/s, {_rate(knee['GETps'])} GET/s "
        f"of {format_size(knee['bytes'])}; most {_rate(knee['MBps_max'])} MB/s"
    )


def _limit_text(limit: dict[str, Any]) -> str:
    if limit["GETps"] is None:
        return "not measured: time or bytes were over"
    rate = f"{_rate(limit['GETps'])}/s of {format_size(limit['bytes'])}"
    if limit["throttled"]:
        return f"{rate}, then the store asks to slow down"
    return f"{rate} with {limit['requests']} in flight; the store never asked to slow down"


def _loader_text(d: dict[str, Any]) -> str:
    rate = d["loader"]
    if rate is None:
        return "not run"
    return (
        f"{_rate(rate['samples_per_s'])} samples/s, {_rate(rate['MBps'])} MB/s, "
        f"alone on this machine; first batch {rate['first_batch_s']:.2f} s; {rate['bottleneck']}"
    )


def _climb_table(d: dict[str, Any]) -> Table:
    table = Table(title="against reads in flight", title_justify="left", box=None, pad_edge=False)
    for name in ("in flight", "range", "MB/s", "GET/s", "turned away"):
        table.add_column(name, justify="right")
    for row in [*d["concurrency"], *d["concurrency_small"]]:
        knee = row["requests"] == d["knee"]["requests"] and row in d["concurrency"]
        away = f"{row['throttled']:.0%}" if row["throttled"] else ""
        table.add_row(
            str(row["requests"]),
            format_size(row["bytes"]),
            _rate(row["MBps"]),
            _rate(row["GETps"]),
            away + (" knee" if knee else ""),
        )
    return table


def _sizes_table(sizes: list[dict[str, Any]]) -> Table:
    title = "against size, 4 in flight (aligned / unaligned)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("range", "first byte ms", "whole ms", "MB/s", "GET/s"):
        table.add_column(name, justify="right")
    for row in sizes:
        both = [row["aligned"], row["unaligned"]]
        cells = [
            " / ".join("-" if of is None else _rate(of[key]) for of in both)
            for key in ("first_byte_ms", "whole_ms", "MBps", "GETps")
        ]
        table.add_row(format_size(row["bytes"]), *cells)
    return table


def verdict_text(d: dict[str, Any]) -> Group:
    """The verdict and what stands behind it; of ``headrace plan`` too."""
    table, order = _rows(), d["order"]
    idle = d["gpu_idle_share"]
    style = "green" if idle < 0.02 else "yellow" if idle < 0.15 else "red"
    usd = d["usd_per_epoch"]
    price = d.get("price")
    cost = "not known for this store (--price)" if usd is None else f"${usd:,.4f}"
    source = f" ({price['provider']})" if usd is not None and price else ""
    table.add_row("GPU idle", Text(f"{idle:.1%}", style=style))
    table.add_row(
        "epoch",
        f"{d['steps_per_epoch']:,} steps in {d['epoch_seconds']:,.0f} s, "
        f"{d['gets_per_epoch']:,} GETs ({_rate(d['gets_per_second'])}/s), "
        f"{format_size(d['bytes_per_epoch'])}",
    )
    table.add_row("dollars", f"{cost} an epoch{source}")
    table.add_row("memory", f"{format_size(d['memory_bytes'])} a rank: {_memories(d)}")
    table.add_row("first batch", f"after {d['first_batch_s']:.2f} s")
    if order is None:
        table.add_row("order", "not known without an index")
    else:
        said = ", ".join(
            f"D({name[1:]}) " + ("n/a" if value is None else f"≤ {value:.2f}")
            for name, value in order.items()
        )
        table.add_row("order", f"{said} (1 = a true shuffle)")
    for advice in d["advice"]:
        table.add_row("change", advice)
    return Group(Text(d["verdict"], style="bold"), table)


def _memories(d: dict[str, Any]) -> str:
    return ", ".join(
        f"{format_size(row['memory_bytes'])} {row['gpu_idle_share']:.0%}"
        for row in d["memory_options"]
    )
