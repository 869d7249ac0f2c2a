# SPDX-License-Identifier: Apache-2.0
"""Draws results.json:  python bench/quality/plot.py [RESULTS [SVG]]   (needs matplotlib only)"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
SHOWN = {  # contender: its name in the plot, colour, line
    "headrace stratified, as chosen (c=2, L=5,040)": ("headrace", "#0a6e4f", "-"),
    "headrace stratified, 1 MB blocks (c=9, L=1,680)": ("headrace, 1 MB blocks", "#0a6e4f", "--"),
    "headrace block, 1 MB (c=9, L=1,680)": ('headrace "block", 1 MB', "#54b893", "--"),
    "webdataset, buffer 1,661": ("webdataset, 1 GB", "#c0392b", "-"),
    "webdataset, buffer 10,000": ("webdataset, 4.8 GB", "#c0392b", "--"),
    "streaming py1e, block 7,000": ("streaming py1e, 1 GB of disk", "#2c5fa8", "-"),
    "litdata": ("litdata", "#8e5fb0", "-"),
    "true shuffle": ("true shuffle", "#555555", ":"),
}


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results.json"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent.parent / "docs" / "quality.svg"
    rows = [row for row in json.loads(source.read_text())["rows"] if row["ranks"] == 1]
    plt.rcParams.update({"font.size": 8, "svg.hashsalt": "headrace", "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), sharey=True)
    for axis, data in zip(axes, rows[0]["seeds"][0], strict=True):
        for row in rows:
            if row["name"] not in SHOWN:
                continue
            label, colour, line = SHOWN[row["name"]]
            windows = list(row["seeds"][0][data]["D"])
            values = [
                statistics.median(seed[data]["D"][m] for seed in row["seeds"]) for m in windows
            ]
            axis.plot([int(m) for m in windows], values, line, color=colour, label=label, lw=1.5)
        axis.set(xscale="log", yscale="log", title=data, xlabel="m, batches of 256 in a window")
        axis.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        axis.grid(True, lw=0.3)
    axes[0].set_ylabel("D(m): 1 = true shuffle, less is better")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=4, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
