"""The Python API in a few lines: what there is to compute on, a config, a run. `--tips` measures and advises instead.

python bin/example_multi_gpu.py [--tips] [--data PATH]
accelerate launch --config_file accelerate_configs/cpu_two_processes.yaml bin/example_multi_gpu.py
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# The package may not be installed: the folder that holds it, the top of a clone, is then searched first.
_TOP = next(str(top) for top in Path(__file__).resolve().parents if (top / "slipway/__init__.py").is_file())
if _TOP not in sys.path:
    sys.path.insert(0, _TOP)

from rich.console import Console

from slipway import DeviceManager, TrainingConfig, UserError, train


def main() -> int:
    """Train a quick test on every device there is, or print advice for this machine and this data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--tips", action="store_true", help="measure, and print advice")
    options = parser.parse_args()
    try:
        config = TrainingConfig(data=options.data, multi_gpu=DeviceManager.is_multi_gpu_available(), quick_test=True)
        if options.tips:
            from slipway.training.run.advice.tips import give_tips
            from slipway.training.run.train import make_task

            for tip in give_tips(config, make_task(config)):
                Console(width=110, highlight=False).print(f"[bold]{tip.about}[/]: {tip.advice}\n  {tip.because}")
            return 0
        result = train(config)
        if os.environ.get("RANK", "0") == "0" and "test_accuracy" in result:
            print(f"test accuracy {result['test_accuracy']:.3f} after {result['steps']} steps")
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
