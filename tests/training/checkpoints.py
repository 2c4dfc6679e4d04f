"""Small checkpoints whose content is known: the step, in every place."""

from __future__ import annotations

from pathlib import Path

import torch

from slipway.training.storage.checkpoint import Content, Manifest, newest_checkpoint, read_state, read_tensors

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def content(step: int) -> Content:
    """Return what a checkpoint of that step holds: the step, in every place."""
    model = {"weight": torch.full((3, 5), float(step)), "bias": torch.full((5,), float(step), dtype=torch.float64)}
    optimizer = {"exp_avg": torch.full((20,), float(step)), "updates": torch.tensor(step)}
    return Content(step=step, tensors={"model": model, "optimizer": optimizer}, state={"progress": {"step": step}})


def folders(run: Path) -> list[str]:
    """Return the names in a run's folder of checkpoints, hidden ones too."""
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def newest(run: Path) -> Manifest:
    """Return the newest good checkpoint, which must be there and be what was written."""
    manifest, _ = newest_checkpoint(run)
    assert manifest is not None
    for group in read_tensors(manifest).values():
        assert all((tensor == manifest.step).all() for tensor in group.values())
    assert read_state(manifest) == {"progress": {"step": manifest.step}}
    return manifest


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(data)
