# SPDX-License-Identifier: Apache-2.0
"""Every block of Python in docs/torch.md runs, in the order of the page, one section after another."""

import json
import pathlib
import re

import pytest

import headrace as hr

torch = pytest.importorskip("torch")

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "torch.md"
NEEDS = {
    "Lightning": "lightning",
    "Accelerate": "accelerate",
    "StatefulDataLoader": "torchdata",
    "HF Trainer": "transformers",
}


def sections():
    """Of each section its title and its blocks; the first is what all of them begin with."""
    text = PAGE.read_text()
    parts = re.split(r"^## (.*)$", text, flags=re.M)
    titles = ["setup", *parts[1::2]]
    blocks = [
        re.findall(r"^```python.*?\n(.*?)^```", part, flags=re.M | re.S) for part in parts[::2]
    ]
    return dict(zip(titles, blocks, strict=True))


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 10)

    def forward(self, pixels, labels=None):
        found = self.layer(pixels.float().mean((2, 3)) / 255)
        return (
            found
            if labels is None
            else {"loss": torch.nn.functional.cross_entropy(found, labels), "logits": found}
        )


def resume(names, saved, folder):
    """The last paragraph of "HF Trainer"."""
    seen = []

    def pack(batch):
        seen.append(batch.position)
        return {"pixels": batch["png"], "labels": batch["cls"]}

    options = {**names["options"], "batch_transform": pack}
    names["loader"] = names["ds"].loader(**options, device="cpu")
    names["loader"].load_state_dict(saved)
    trainer = names["Streaming"](Tiny(), names["arguments"])
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-5"))
    assert trainer.state.global_step == 12
    assert seen[:7] == [saved["position"] + 64 * i for i in range(7)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "title", [title for title, blocks in sections().items() if blocks and title != "setup"]
)
def test_the_page_runs(title, samples, tmp_path, monkeypatch):
    pytest.importorskip(NEEDS.get(title, "torch"))
    for name, value in (
        ("RANK", 0),
        ("WORLD_SIZE", 1),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", 0),
    ):
        monkeypatch.setenv(name, str(value))
    model, kept, steps = Tiny(), {}, []
    names = {
        "torch": torch, "json": json, "pathlib": pathlib, "url": str(samples), "folder": tmp_path, "model": model,
        "hf_model": Tiny(), "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "loss_of": torch.nn.functional.cross_entropy, "save": kept.update, "load": lambda: kept,
        "train_step": lambda *columns: steps.append([len(column) for column in columns]),
    }  # fmt: skip
    try:
        for block in [*sections()["setup"], *sections()[title]]:
            exec(compile(block, str(PAGE), "exec"), names)
        if title == "HF Trainer":
            saved = json.loads((tmp_path / "checkpoint-5" / "loader.json").read_text())
            assert saved["position"] == 1003 % 64 + 5 * 64, "as many batches as steps"
            resume(names, saved, tmp_path)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        names["ds"].close()
    if title == "Plain loop":
        assert len(steps) == 2 * 15 + 15, "two epochs, and the third one by resume from step 30"
        assert kept["loader"] == {**kept["loader"], "epoch": 2}
    assert all(step == [64, 64] for step in steps)


def test_the_page_has_a_section_for_each_entry_of_its_contents():
    linked = set(re.findall(r"\]\(#([a-z-]+)\)", PAGE.read_text()))
    titles = {title.lower().replace(" ", "-") for title in sections() if title != "setup"}
    assert linked == titles
    assert hr.torch.__all__ == ["DataLoader", "IterableDataset", "MapDataset", "loader_state"]
