"""The schema of the journal: its events, the meaning of their fields, and their page in the documentation."""

from __future__ import annotations

from collections.abc import Mapping

SCHEMA_VERSION = 1

COMMON_FIELDS: dict[str, str] = {
    "event": "name of the event",
    "time_seconds": "seconds since the process opened the journal, just before its `run` event; of a step: until it was "
    "reported",
    "non_finite": "only if needed: the names of fields that were NaN or infinite and are written as null",
}
"""The fields of every line."""

EVENT_FIELDS: dict[str, dict[str, str]] = {
    "run": {
        "wall_time": "date and time in UTC, ISO 8601",
        "schema_version": f"version of this schema: {SCHEMA_VERSION}",
        "name": "name of the experiment",
        "recipe": "what decides the learned weights, as in `run.json`",
        "recipe_hash": "hash of the recipe",
        "plan": "how it is computed, as in `run.json`",
        "description": "the task's description of its data and model",
        "num_parameters": "parameters of the model",
        "num_stages": "stages of the recipe",
    },
    "stage": {
        "stage": "number of the stage, from 0",
        "name": "its name",
        "peak_learning_rate": "highest learning rate of the stage",
        "num_epochs": "epochs it trains at most",
        "steps_per_epoch": "optimizer steps in an epoch",
    },
    "step": {
        "step": "optimizer steps done in the run, this one included",
        "stage": "number of the stage, from 0",
        "epoch": "epoch of the run, from 0",
        "step_in_epoch": "step of the epoch, from 0",
        "learning_rate": "learning rate of this step",
        "loss": "mean over the global batch",
        "gradient_norm": "norm of the global gradient, before clipping",
        "samples_per_rank": "samples each rank trained on, by rank",
        "micro_batches": "forward passes of rank 0",
    },
    "epoch": {
        "stage": "number of the stage, from 0",
        "epoch": "epoch of the run, from 0",
        "epoch_in_stage": "epoch of the stage, from 0",
        "samples_seen": "samples trained on in this epoch, over all ranks",
        "train_loss": "mean training loss of the epoch",
        "validation": "validation metrics by name, only single numbers; empty without a validation split",
        "improved": "whether the monitored metric is the best of the stage so far",
        "best": "best value of the monitored metric in the stage so far",
        "seconds": "duration of the epoch with its validation",
        "data_wait_seconds": "how long rank 0 waited in this epoch for its micro-batches, or made them itself",
    },
    "stage_end": {
        "stage": "number of the stage, from 0",
        "row": "the stage's row of results, as in `run.json`",
    },
    "profile": {
        "trace": "path of the trace of rank 0, for ui.perfetto.dev; those of the other ranks are in the same folder",
        "first_step": "the first profiled step",
        "steps": "number of profiled steps",
        "seconds": "time of all of them, with the profiler",
        "seconds_per_step_before": "median time of a step before the profiler was started; null if unknown",
        "sections": "the time of each section: its name, how often it was entered (`times`), the `seconds` of the training "
        "thread, and `device_seconds`, null on a CPU",
    },
    "run_end": {"result": "the result, as in `run.json`"},
    "decision": {
        "reason": "one sentence for a person",
        "warning": "whether it was printed as a warning",
    },
}
"""The fields of each event beside the common ones. A decision's event is its kind, and it has further fields."""

DECISION_FIELDS: dict[str, dict[str, str]] = {
    "resume": {
        "step": "the step of the checkpoint from which the run continues; 0: from the start. `step` events before this line "
        "with a higher number do not count",
        "processes": "processes from now on",
        "recipe_changes": "only if a change was allowed: what differs from the earlier recipe",
    },
    "rewind": {
        "step": "the step of the checkpoint to which the run goes back because of bad numbers; as with `resume`, `step` events "
        "before this line with a higher number do not count",
        "passed_over": "the batches that are skipped from now on, each with `epoch`, `step_in_epoch` and `samples`: their "
        "indices in the training split",
    },
    "checkpoint": {
        "step": "the step after which it was taken",
        "checkpoint": "its folder's name in `checkpoints/`",
        "bytes": "its size",
    },
    "checkpoint_failed": {"retry_seconds": "seconds until the next try; older checkpoints are kept"},
    "damaged_checkpoint": {},
    "no_answers": {},
    "weights_not_saved": {"weights": "`best` or `last`: the weights that could not be written"},
    "journal_gap": {"lines": "lines that are missing before this one: the disk was full for too long"},
    "skipped_update": {
        "step": "the step that changed no weight: its loss or gradient was not finite",
        "epoch": "epoch of the run, from 0",
        "step_in_epoch": "step of the epoch, from 0",
    },
    "no_gradient": {
        "parameters": "the names of the trainable parameters that got no gradient in the first step, on any rank"
    },
    "out_of_memory": {
        "step": "the step that is computed again in smaller micro-batches",
        "rank": "a rank on which memory ran out",
        "micro_batch_size": "the most samples in one forward pass from now on",
        "split": "in evaluation, instead of these three: the split",
        "failures": "in evaluation: forward passes that did not fit, over all ranks",
        "evaluation_batch_size": "in evaluation: the most samples in one forward pass from now on, of this rank",
    },
    "num_workers": {
        "num_workers": "threads of rank 0 that prepare micro-batches from now on",
        "before": "threads before",
        "data_wait_share": "share of the time that the loop waited for data",
    },
    "first_step": {
        "seconds": "from the start of the process to the end of its first optimizer step",
        "seconds_before_run": "from the start of the process to the `run` event: imports, data, model",
    },
    "model_flops": {
        "flops_per_sample": "floating-point operations of a forward and backward pass, per training sample",
        "peak_flops_per_second": "peak of all devices of the run in its precision, by their data sheets",
        "mixed_precision": "`no`, `fp16` or `bf16`",
    },
    "data_prepared": {
        "clips": "clips of the data set, all splits",
        "seconds": "time until they were ready, on rank 0's host",
        "from_cache": "whether they were taken from the cache",
        "cache_folder": "their folder in the cache, or null",
    },
    "damaged_data_cache": {},
    "compiled": {"backend": "of torch.compile", "seconds": "of the first forward pass, most of them for compiling"},
    "compile_limit": {},
    "not_compiled": {"backend": "of torch.compile, as asked for"},
    "memory_pressure": {"micro_batch_size": "the most samples in one forward pass from now on"},
    "micro_batch": {
        "micro_batch_size": "the most samples in one forward pass from now on",
        "bytes_per_sample": "memory that a sample needs, if it was measured",
    },
    "waiting": {
        "cores_are_shared": "whether other programs want the cores too, so that threads wait without spinning",
        "way": "how threads wait for each other: spinning, asleep, or together: asleep and in turn on half of the cores",
    },
}
"""The further fields of decisions that report what happened to a run; those of other kinds are the numbers behind them."""

EXAMPLE_LINE = (
    '{"event": "step", "time_seconds": 1.204, "step": 12, "stage": 0, "epoch": 0, "step_in_epoch": 11, '
    '"learning_rate": 0.002, "loss": 2.25, "gradient_norm": 1.5, "samples_per_rank": [25, 25], "micro_batches": 1}'
)


def describe_schema() -> str:
    """Return the schema as Markdown: the text of docs/journal.md."""
    parts = [
        "# The journal",
        "A run writes `events.jsonl` in its folder: one JSON object per line, in the order of the events. "
        "The first line is the `run` event. A stage is a `stage` event, its `step` and `epoch` events, then a `stage_end`; "
        "`run_end` comes last, and only if the run was not stopped before. "
        "Every line is valid JSON: a number that is NaN or infinite is `null`, and `non_finite` names its field.",
        f"```json\n{EXAMPLE_LINE}\n```",
        "`slipway.read_journal(path)` returns the lines as dictionaries. "
        "This page is the text of `describe_schema()` in `training/observers/journal_schema.py`; a test compares them.",
        "## A run that was resumed",
        "It continues in the same file. Each resume writes another `run` event, with what is valid from then on, a `resume` "
        "event with the step from which it continues, and another `stage` event for the present stage. A step is written "
        "before the checkpoint that counts it as done; the steps after the checkpoint are computed again, with the same "
        "samples.\n\n"
        "So the journal shows which samples the final weights have seen: after a `resume` or `rewind` event with `step` s, "
        "earlier `step` events with a number above s do not count. `slipway.training.observers.journal.lineage(events)` "
        "returns the `step` events that count: of each epoch every step once, except for the batches that a `rewind` "
        "skips. A step with a `skipped_update` event changed no weight. An incomplete last line, of a process that was "
        "killed, is left out by `read_journal` and removed when the run continues.",
        "## Every line\n\n" + _field_table(COMMON_FIELDS),
    ]
    for name, fields in EVENT_FIELDS.items():
        if name == "decision":
            parts.append(
                "## Decisions\n\nA choice that the program made for the user, or a warning, at any time. The name of the "
                "event is its kind, such as `batch_rule`, `early_stop` or `small_data`; further fields are the numbers "
                "behind it.\n\n" + _field_table(fields)
            )
            for kind, own in DECISION_FIELDS.items():
                parts.append(f"### `{kind}`\n\n{_field_table(own) if own else 'It has no further fields.'}")
        else:
            parts.append(f"## `{name}`\n\n{_field_table(fields)}")
    return "\n\n".join(parts) + "\n"


def _field_table(fields: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in fields.items()]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])
