"""The options of a plan, one for each field of `Intent`, and what they fix together with the settings files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from ...training.common.errors import UserError, flag_of
from ...training.common.parser import Parser
from ...training.common.program.shown import printable
from ...training.common.program.streams import print_to_stderr

if TYPE_CHECKING:
    from ..hardware.record import Hardware
    from .records import MergedIntent


_HELP = {
    "device": "kind of device",
    "gpu_ids": "which CUDA devices, such as 0,2, by the numbers of `slipway detect`",
    "num_processes": "processes of all machines together",
    "processes_per_host": "processes of each machine, such as 2, or 2,1 for two machines",
    "num_machines": "machines that take part",
    "machine_rank": "which of them this is, from 0",
    "main_process_ip": "host name or address of machine 0",
    "main_process_port": "its port",
    "rdzv_backend": "how machines meet",
    "mixed_precision": "precision of the forward and backward pass",
    "parameters": "number of parameters of the model, such as 7B, 350M or 1.5e9",
    "sharding": "replicas, FSDP2, or DeepSpeed ZeRO-2 or ZeRO-3",
    "compile": "use torch.compile",
    "global_batch_size": "samples of a step, to plan micro-batches for; the script sets its own batch",
    "micro_batch_size": "most samples in one forward pass, or auto",
    "gradient_accumulation": "micro-batches per step instead",
    "share_weights": "a weight for each process, such as 3,1",
    "threads_per_process": "threads that compute",
    "num_workers": "data-loader workers of a process",
}


def add_intent(parser: Parser) -> None:
    """Add an option for each field of `Intent`, and `--config FILE`."""
    from .settings import intent_types, words_of

    group = parser.add_argument_group(
        "what you fix",
        "Each may also stand in ~/.config/slipway/config.yaml, slipway.yaml, SLIPWAY_<OPTION> or the file of --config; "
        "the later of these wins, and a flag wins over all.",
    )
    group.add_argument("--config", metavar="FILE", help="YAML file with any of these options, or an Accelerate config")
    for name, kind in intent_types().items():
        settings: dict[str, Any] = {"dest": name, "default": None, "help": _HELP[name]}
        if bool in get_args(kind):
            group.add_argument(flag_of(name), action=argparse.BooleanOptionalAction, **settings)
        elif words := words_of(name):
            group.add_argument(flag_of(name), choices=words, **settings)
        else:
            others = ("--threads",) if name == "threads_per_process" else ()  # as the training calls it
            group.add_argument(flag_of(name), *others, metavar=name.rsplit("_", 1)[-1].upper(), **settings)


def add_machine(parser: Parser) -> None:
    """Add what names another machine than this one: `--hardware FILE` or `--machine WORDS`."""
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument("--hardware", metavar="FILE", help="for the machine recorded in FILE, instead of this one")
    machine.add_argument("--machine", metavar="WORDS", help="for a machine in words: '4 x L40S, 64 cores, 512 GB'")


def hardware_of(options: argparse.Namespace) -> Hardware:
    """Return the machine that is planned for. Raises `UserError`."""
    from ..hardware.described import described
    from ..hardware.detect import load_hardware

    return described(options.machine) if options.machine is not None else load_hardware(options.hardware)


def machine_words(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the words of a command that name the machine; none for this one."""
    named = (("--hardware", options.hardware), ("--machine", options.machine))
    return tuple(word for flag, value in named if value is not None for word in (flag, value))


def intent_of(options: argparse.Namespace) -> MergedIntent:
    """Return what is fixed: by the parsed options, `--config`, the environment, and the settings files.

    Prints what became of the keys of an Accelerate config to stderr.

    Raises `UserError` that names the file and key, or the variable.
    """
    import os

    from ..common.numbers import parse_parameters
    from .settings import intent_types, read_intent

    if isinstance(options.parameters, str):
        try:
            options.parameters = parse_parameters(options.parameters)
        except UserError as error:
            raise UserError(f"--parameters: {error}", option="parameters") from None
    intent = read_intent({name: getattr(options, name) for name in intent_types()}, options.config, os.environ)
    if intent.note:
        print_to_stderr(printable(f"note: {intent.note}"))
    return intent
