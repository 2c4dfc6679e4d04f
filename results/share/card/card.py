"""The model card of a run: `README.md` with front matter, as the Hugging Face Hub reads it, of what the run has measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ....training.common.program.shown import one_line
from ....training.data.readers.tables.hub import PREFIX
from ...common.values import text
from ...report.content import Content
from ...use.trained import Trained
from .lineage import lineage
from .markdown import without_places
from .sections import data, data_name, intended, limits, measured, metric_name, results, summary, training
from .usage import REPO, usage

_PIPELINES = {"images": "image-classification", "text": "text-classification"}


def make_card(
    content: Content, trained: Trained, files: Sequence[str], repo: str = REPO, license_name: str | None = None
) -> str:
    """Return the card of a run's best weights; `files` are what lies beside it."""
    parts = (
        summary(content, trained),
        results(content, files),
        intended(trained),
        data(content),
        limits(content, trained),
        usage(trained, files, repo),
        training(content, files),
        lineage(content.record),
    )
    body = "\n".join(line for part in parts for line in part)
    front = _front_matter(content, trained, files, license_name).to_yaml(line_break="\n").strip()
    return f"---\n{front}\n---\n\n{body.strip()}\n"


def _front_matter(content: Content, trained: Trained, files: Sequence[str], license_name: str | None) -> ModelCardData:
    pipeline = _PIPELINES.get(trained.kind) if trained.class_names else None
    source = data_name(content.record)
    dataset = one_line(source.removeprefix(PREFIX))
    found = [
        EvalResult(
            task_type=pipeline or "other",
            task_name=_name(text(content.record, "recipe", "task", "name")),
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=name.replace("macro_f1", "f1"),
            metric_name=metric_name(name),
            metric_value=value,
        )
        for split, name, value in measured(content)
    ]
    tags = ["slipway", "pytorch", *(["landmarks"] if trained.kind == "sign" else [])]
    return ModelCardData(
        license=license_name,
        library_name="slipway",
        pipeline_tag=pipeline,
        tags=[*tags, *(["onnx"] if "model.onnx" in files else [])],
        datasets=[dataset] if source.startswith(PREFIX) else None,
        metrics=list(dict.fromkeys(one.metric_type for one in found)) or None,
        model_name=_name(text(content.record, "name")),
        eval_results=found or None,
    )


def _name(value: str) -> str:
    return one_line(without_places(value)) or Path(value).name or "unknown"
