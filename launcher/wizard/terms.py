"""The words of the wizard, each with what it means and an example, by the line of the plan that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...training.common.errors import UserError, nearest


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word: the line of the plan where it stands, what it means, and an example."""

    line: int
    word: str
    meaning: str
    example: str


def _term(line: int, word: str, meaning: str, example: str) -> Term:
    return Term(line=line, word=word, meaning=meaning, example=example)


TERMS = (
    _term(
        1, "script", "the program that trains, with its arguments as in a shell", "mine.py --epochs 3, or -m my.module"
    ),
    _term(
        1,
        "Slipway's own training",
        "what `slipway train` starts; --task names your model and data, so that the wizard can count them",
        "slipway wizard --task my.py:make_task",
    ),
    _term(2, "device", "what computes the model: the processor (cpu) or a kind of GPU", "cuda is a GPU of NVIDIA"),
    _term(
        2,
        "process",
        "one running copy of the script; each computes its share of every batch on its own device",
        "4 processes on 4 GPUs: a batch of 64 is 16 samples each",
    ),
    _term(
        2,
        "GPU number",
        "the number that `slipway detect` shows, from 0",
        "0,2 takes the first and the third; 2 alone takes two",
    ),
    _term(
        3,
        "machine",
        "a computer with its own operating system; all of them train one model together",
        "2 machines of 8 GPUs are 16 processes",
    ),
    _term(
        3,
        "address",
        "the name or number by which all machines reach machine 0, where they meet; with a port if 29500 is taken",
        "node01, 10.0.0.5 or node01:29501",
    ),
    _term(
        3,
        "rank",
        "which of the machines this is, from 0; each starts the same command with its own",
        "the second of two machines has rank 1",
    ),
    _term(
        4,
        "parameters",
        "the numbers that training changes: the size of the model",
        "70B is 70 billion, 350M is 350 million; 1.5e9",
    ),
    _term(
        4,
        "training state",
        "what stays in memory: float32 weights, gradients and Adam's two moments, 16 bytes a parameter",
        "7B parameters hold 104 GiB",
    ),
    _term(
        4,
        "replicate",
        "every process has the complete model: fastest, where it fits one device",
        "1B parameters, 14.9 GiB on each GPU",
    ),
    _term(
        4,
        "fsdp",
        "FSDP2 of PyTorch: weights, gradients and optimizer state are spread over the processes; the script must support it",
        "7B parameters on 8 GPUs: 13 GiB on each",
    ),
    _term(
        4,
        "zero2",
        "DeepSpeed ZeRO-2: gradients and optimizer state are spread, weights are not",
        "7B parameters on 8 GPUs: 36 GiB on each",
    ),
    _term(
        4, "zero3", "DeepSpeed ZeRO-3: weights are spread too, as with fsdp", "7B parameters on 8 GPUs: 13 GiB on each"
    ),
    _term(
        5,
        "precision",
        "the number format of the forward and backward pass; weights and optimizer state stay in float32",
        "bf16 computes 2 bytes a number",
    ),
    _term(
        5,
        "bf16",
        "2 bytes with the range of float32: half the memory traffic, no loss scaling",
        "GPUs since A100, RTX 30",
    ),
    _term(5, "fp16", "2 bytes with a small range: the loss is scaled so that gradients do not vanish", "V100, T4"),
    _term(5, "fp8", "1 byte; needs torchao, Transformer Engine or MS-AMP", "H100, L40S, RTX 40"),
    _term(5, "no", "float32 in all passes: the slowest and the safest", "a CPU, or a model that gets NaN in bf16"),
    _term(
        5,
        "compile",
        "torch.compile: faster steps, for minutes at the start and again for each new shape of a batch",
        "worth it for hours of training on inputs of one size",
    ),
    _term(
        6,
        "global batch",
        "samples of one step, over all processes; it decides what is learned",
        "256 samples on 8 processes: 32 each",
    ),
    _term(
        6,
        "micro-batch",
        "the most samples of one forward pass; a smaller one needs less memory, and the step stays the same",
        "a share of 32 with a micro-batch of 8: four passes, then one update",
    ),
)


def explain(word: str) -> Sequence[Term]:
    """Return terms: those of a line of the plan by its number, one by its name, all for an empty word.

    Raises `UserError` for a word that is none.
    """
    word = word.strip().lower()
    if word.isdecimal():
        found = [one for one in TERMS if str(one.line) == word.lstrip("0")]
    else:
        found = [one for one in TERMS if not word or one.word.lower() == word]
    if not found:
        hint = nearest(word, [one.word for one in TERMS]) or "; `?` shows all"
        raise UserError(f"{word!r} is none of the words here{hint}")
    return found
