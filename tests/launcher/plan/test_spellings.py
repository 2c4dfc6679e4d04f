"""Options as other launchers spell them mean the same here."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.launcher.launch.command import build_parser, main
from slipway.launcher.plan.options import intent_of
from slipway.launcher.plan.settings import intent_types, read_intent
from slipway.launcher.plan.spellings import as_spelled_here
from slipway.training.common.conversion import field_types
from slipway.training.common.errors import UserError
from slipway.training.common.parser import parse
from slipway.training.common.settings import SettingsReader
from slipway.training.run.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--num_processes 2 t.py --lr 1", "--num-processes 2 t.py --lr 1"),
        ("--num_processes=2 t.py", "--num-processes=2 t.py"),
        ("--nproc_per_node=2 --nnodes 2 t.py", "--num-machines 2 --num-processes 4 t.py"),
        ("--nproc-per-node 2 --master_port 29501 t.py", "--main-process-port 29501 --num-processes 2 t.py"),
        ("--nproc_per_node gpu t.py", "t.py"),
        ("--standalone --rdzv_id 7 --rdzv_endpoint h:29501 t.py", "--main-process-ip h --main-process-port 29501 t.py"),
        ("--cpu --config_file c.yaml t.py", "--device cpu --config c.yaml t.py"),
        ("--use_fsdp --num_cpu_threads_per_process 4 t.py", "--sharding fsdp --threads-per-process 4 t.py"),
        ("--use_deepspeed --zero_stage 3 t.py", "--sharding zero2 --sharding zero3 t.py"),
        ("--multi_gpu --mixed_precision bf16 --dynamo_backend no t.py -x", "--mixed-precision bf16 t.py -x"),
        ("--bf16 --gpus 2 t.py --num_processes 3", "--mixed-precision bf16 --num-processes 2 t.py --num_processes 3"),
        ("--epochs 3 t.py", "--epochs 3 t.py"),
        ("--num_processes", "--num_processes"),
        ("-m pkg --cpu", "-m pkg --cpu"),
    ],
)
def test_another_launchers_option_is_the_one_it_means(line: str, meant: str) -> None:
    assert as_spelled_here(build_parser(), line.split()) == meant.split()


def test_a_launch_and_a_plan_take_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = tmp_path / "t.py"
    script.touch()
    assert main(["--dry-run", "--cpu", "--nproc_per_node=2", "--log-dir", str(tmp_path), str(script)]) == 0
    assert "2 processes" in capsys.readouterr().out.replace("--num_processes 2", "2 processes")
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, ["--num_processes=2", "--cpu"]))
    assert (intent_of(options).num_processes, intent_of(options).device) == (2, "cpu")


def test_a_launch_takes_a_config_before_the_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("distributed_type: NO\nuse_cpu: true\n", encoding="utf-8")
    script = tmp_path / "t.py"
    script.touch()
    assert main(["--dry-run", "--log-dir", str(tmp_path), str(tmp_path / "c.yaml"), str(script), "--lr", "1"]) == 0
    assert f"child.py {script} --lr 1" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(UserError, match="is a config: name the SCRIPT behind it"):
        main([str(tmp_path / "c.yaml")])


def test_a_misspelt_variable_is_named_and_the_options_of_the_other_part_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean SLIPWAY_MIXED_PRECISION.*unset SLIPWAY_MIXD_PRECISION"):
        read_intent({}, None, {"SLIPWAY_MIXD_PRECISION": "no"}, tmp_path)
    training, launch = field_types(TrainingConfig), intent_types()
    every = {f"SLIPWAY_{name.upper()}": "" for name in (*training, *launch, "plan", "test_data", "multi_gpu", "debug")}
    for types in (training, launch):
        assert SettingsReader(section="launch", types=types).read_environment(every) == {}
