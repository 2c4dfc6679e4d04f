"""What the launcher's commands meet: records of machines, Accelerate configs, scripts, folders."""

from __future__ import annotations

import json

from tests.launcher.machines import FOLDER as MACHINES

from .case import LONG, Prepare, both, case, closed, pipe, text, yaml_files

MACHINE = MACHINES / "rtx4090_cpu_only_torch.json"


def hardware(**changes: object) -> Prepare:
    """Return what writes the record of a machine with other values in it."""
    return lambda root: (root / "m.json").write_text(json.dumps({**json.loads(MACHINE.read_text()), **changes}))


LAUNCHER = {
    "hardware.missing": case("plan --hardware nowhere.json"),
    "hardware.folder": case("plan --hardware PATH"),
    "hardware.pipe": case("plan --hardware m.json", pipe("m.json")),
    "hardware.not JSON": case("plan --hardware m.json", text("m.json", "cpu: 1")),
    "hardware.empty": case("plan --hardware m.json", text("m.json", "")),
    "hardware.list": case("plan --hardware m.json", text("m.json", "[]")),
    "hardware.null": case("plan --hardware m.json", text("m.json", "null")),
    "hardware.version": case("plan --hardware m.json", hardware(schema_version=99)),
    "hardware.cores": case("plan --hardware m.json", hardware(cpu={"logical_cores": -4})),
    "hardware.memory": case("plan --hardware m.json", hardware(memory=None)),
    "hardware.accelerators": case("plan --hardware m.json", hardware(accelerators="two")),
    "hardware.closed": case("plan --hardware m.json", text("m.json", "{}", 0o600), is_other_user=True),
    **{
        name: one
        for name, one in yaml_files("accelerate", "plan --config FILE").items()
        if not name.endswith(("empty", "deep"))
    },
    "accelerate.processes": case("plan --config f.yaml", text("f.yaml", "num_processes: many\n")),
    "accelerate.machines": case("plan --config f.yaml", text("f.yaml", "num_machines: 2\nmachine_rank: 5\n")),
    "accelerate.port": case("plan --config f.yaml", text("f.yaml", "main_process_port: 99999\n")),
    "accelerate.precision": case("plan --config f.yaml", text("f.yaml", "mixed_precision: fp4\n")),
    "accelerate.fsdp": case("plan --config f.yaml", text("f.yaml", "distributed_type: FSDP\nfsdp_config: 3\n")),
    **{
        f"launch.{words}": case(f"launch {words}", text("train.py", "print(1)\n"))
        for words in (
            "", "nothing.py", "PATH", "-m", "--num-processes 0 train.py", "--num-processes 1e9 train.py",
            "--num-processes 100000 train.py", "--num-processes two train.py", "--main-process-port 99999 train.py",
            "--main-process-port 0x50 train.py", "--num-machines 2 train.py", "--num-machines 2 --machine-rank 2 train.py",
            "--max-restarts -1 train.py", "--num-workers 1e30 train.py",
            "--grace-seconds nan train.py", "--log-dir /dev/null train.py", f"--log-dir {LONG} train.py",
            "--share-weights 1,x train.py", "--share-weights 1,nan train.py", "--threads-per-process 0 train.py",
            "--micro-batch-size -3 train.py", "--parameters huge train.py", "--json train.py", "--hardware x.json train.py",
            "--device cuda train.py", "--num_proceses=2 train.py", "--compile true train.py", "--config nothing.yaml train.py",
        )
    },
    "launch.data": case("launch data.csv", text("data.csv", "a,b\n1,2\n")),
    "launch.pipe": case("launch train.py", pipe("train.py")),
    "launch.log folder closed": case("launch --log-dir PATH/logs train.py", both(text("train.py", ""), closed("logs")),
        is_other_user=True),
    "launch.slurm": case("launch train.py", text("train.py", ""), environment={
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "gpu[01-02]", "SLURM_NNODES": "2"}),
    "config.output closed": case("config --out PATH/c/f.yaml", closed("c"), is_other_user=True),
    **{
        f"wizard.{words}": case(f"wizard {words}")
        for words in (
            "--script=-x", "--script a.py --task b", "--script a.py --data c",
            "--parameters 70BB", "--yes --num-machines 2", "--yes --out PATH", "--yes --gpu-ids 0,x", "--device cuda",
        )
    },
    "new.exists": case("new thing", lambda root: (root / "thing").mkdir()),
    "new.closed": case("new c/thing", closed("c"), is_other_user=True),
    "new.long": case(f"new {LONG}"),
    "schema.unknown": case("schema plna"),
    "doctor.config": case("doctor --config nothing.yaml"),
    "command.unknown": case("tain"),
    "runs.folder": case("runs --runs-dir nowhere"),
        "runs.file": case("runs --runs-dir c", text("c", "")),
    "resume.nowhere": case("resume nothing"),
    "data.nothing": case("data"),
    "data.unknown": case("data inspct x"),
    "completion.shell": case("completion cmd"),
}  # fmt: skip
