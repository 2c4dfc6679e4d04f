"""Asks Accelerate how it reads configs; imports it only in its own process."""

from __future__ import annotations

from typing import Any


def _answer(path: str, argv: list[str]) -> dict[str, Any]:
    import tempfile
    from pathlib import Path

    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.yaml"
        load_config_from_file(path).to_yaml_file(again)
        config = load_config_from_file(str(again))
    args = launch_command_parser().parse_args(argv)
    flags = set(vars(args))
    args, _, _ = _validate_launch_command(args)
    nested = {**config.fsdp_config, **config.deepspeed_config, **config.dynamo_config}
    return {
        "distributed_type": str(config.distributed_type.value),
        "num_processes": config.num_processes,
        "num_machines": config.num_machines,
        "mixed_precision": config.mixed_precision,
        "launch.num_processes": args.num_processes,
        "launch.mixed_precision": args.mixed_precision,
        "launch.use_cpu": bool(args.use_cpu),
        "launch.machine_rank": args.machine_rank,
        "launch.launcher": _launcher(args),
        # Accelerate takes any nested key silently, so a misspelt one would do nothing.
        "unknown_keys": sorted(set(nested) - flags),
    }


def _launcher(args: Any) -> str:
    """Return the branch that Accelerate's `launch_command` takes."""
    if args.use_deepspeed:
        return "deepspeed"
    if args.use_fsdp:
        return "fsdp"
    return "multi" if args.multi_gpu else "simple"


def _main() -> None:
    import json
    import sys

    answers = []
    for one in json.load(sys.stdin):
        try:
            answers.append(_answer(one["path"], one["argv"]))
        except (Exception, SystemExit) as error:  # whatever Accelerate raises is its answer
            answers.append({"error": f"{type(error).__name__}: {error}"})
    print(json.dumps(answers))


if __name__ == "__main__":
    _main()
