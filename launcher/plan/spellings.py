"""Options of a plan as other launchers spell them, taken as what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from ...training.common.parser import Parser

_VALUES = {
    **dict.fromkeys(("--nnodes", "--num-nodes"), "--num-machines"),
    "--node-rank": "--machine-rank",
    "--master-addr": "--main-process-ip",
    "--master-port": "--main-process-port",
    "--num-cpu-threads-per-process": "--threads-per-process",
    "--config-file": "--config",
}
_LOCAL = ("--nproc-per-node", "--nproc", "--num-procs", "--np", "--gpus", "--num-gpus", "--n-gpus")
"""Processes of one machine."""
_WORDS = {
    **dict.fromkeys(("--cpu", "--use-cpu"), ("--device", "cpu")),
    "--fp16": ("--mixed-precision", "fp16"),
    "--bf16": ("--mixed-precision", "bf16"),
    "--use-fsdp": ("--sharding", "fsdp"),
    "--use-deepspeed": ("--sharding", "zero2"),
    **dict.fromkeys(("--standalone", "--use-env", "--same-network", "--multi-gpu", "--quiet"), ()),
}
_NOTHING = ("--rdzv-id", "--main-training-function", "--monitor-interval", "--role", "--tee")
"""Options with a value that change nothing here."""
_STAGES = {"1": "zero2", "2": "zero2", "3": "zero3"}


def as_spelled_here(parser: Parser, words: Sequence[str]) -> list[str]:
    """Return a command line with the options of other launchers, up to the first word that is none, spelled as here."""
    has_value = {name: action.nargs != 0 for action in parser._actions for name in action.option_strings}
    found: list[str] = []
    local: str | None = None
    nodes = "1"
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--", "-m"):
        name, is_whole, value = words[at].partition("=")
        plain = name if name in has_value else "--" + name.lstrip("-").replace("_", "-")
        plain = _VALUES.get(plain, plain)
        takes = has_value.get(
            plain, plain in (*_LOCAL, *_NOTHING, "--rdzv-endpoint", "--dynamo-backend", "--zero-stage")
        )
        if plain not in has_value and not takes and plain not in _WORDS:
            break
        if not takes and is_whole and plain in _WORDS:
            break  # a flag has no value
        taken = takes and not is_whole
        if taken and at + 1 >= len(words):
            break
        value = words[at + 1] if taken else value
        if plain in has_value:
            found += [f"{plain}={value}"] if is_whole else [plain, value] if taken else [plain]
            nodes = value if plain == "--num-machines" else nodes
        elif plain in _LOCAL:
            local = value
        else:
            found += _meant(plain, value)
        at += 2 if taken else 1
    if local is not None:
        found += _processes(local, nodes)
    return [*found, *words[at:]]


def _meant(name: str, value: str) -> Sequence[str]:
    if name == "--rdzv-endpoint":
        host, _, port = value.rpartition(":")
        return ("--main-process-ip", host, "--main-process-port", port) if host else ("--main-process-ip", value)
    if name == "--dynamo-backend":
        return () if value.lower() in ("no", "none", "") else ("--compile",)
    if name == "--zero-stage":
        return ("--sharding", _STAGES.get(value, value))
    return _WORDS.get(name, ())


def _processes(local: str, nodes: str) -> Sequence[str]:
    """Return the processes of all machines; torchrun's words for all devices of a machine leave them to the plan."""
    if local in ("auto", "gpu", "xpu"):
        return ()
    if local == "cpu":
        return ("--device", "cpu")
    is_number = local.isdecimal() and nodes.isdecimal()
    return ("--num-processes", str(int(local) * int(nodes)) if is_number else local)
