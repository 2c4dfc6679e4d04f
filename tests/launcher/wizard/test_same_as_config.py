"""Whatever a person answers, the wizard writes what `slipway config` writes with the options that it names at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.launcher import cli
from slipway.launcher.common.paths import TRAIN_SCRIPT
from tests.launcher.wizard.talk import Talker, of

MACHINES = (
    "8xh100",
    "2xrtx4090",
    "rtx3090_rtx2080ti",
    "t4",
    "m2",
    "container_2_of_64_cores",
    "slurm_step_4_nodes",
    "8xmi300x",
)
REPLIES = (
    *("2 1", "2 2", "2 4", "2 0,2", "2 1-3", "2 cpu", "2 cuda", "2 auto"),
    *("3 1", "3 2", "3 4", "node7", "10.0.0.1:1234", "3 auto"),
    *("4 70B", "4 350M", "4 1.5e9", "4 fsdp", "4 zero2", "4 zero3", "4 replicate", "4 auto", "4 many"),
    *("5 bf16", "5 fp16", "5 fp8", "5 no", "5 yes", "5 2", "5 auto"),
    *("6 30", "6 64", "6 auto", "back", "? 3", "plan", "nonsense", "2", "5", "6", "1", "2", "8", "-", ""),
    f"1 {TRAIN_SCRIPT} --epochs 3",
)
FIXED = ((), ("--mixed-precision", "no"), ("--num-processes", "2"), ("--compile",), ("--gradient-accumulation", "2"))
SETTINGS = (
    "",
    "launch: {num_workers: 1, mixed_precision: bf16}\n",
    "launch: {sharding: fsdp, gradient_accumulation: 4}\n",
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_file_is_that_of_slipway_config_with_the_options_that_are_named(
    data: st.DataObject, talk: Talker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = data.draw(st.sampled_from(MACHINES))
    replies = data.draw(st.lists(st.sampled_from(REPLIES), max_size=8))
    fixed = data.draw(st.sampled_from(FIXED))
    (tmp_path / "slipway.yaml").write_text(data.draw(st.sampled_from(SETTINGS)), encoding="utf-8")
    # The last ones leave whatever question is open, and take all of it.
    done = talk([*replies, "back", "back", "node7", "", "", "", "", "", "wizard.yaml"], *fixed, *of(name), typed=True)
    path = tmp_path / "wizard.yaml"
    if (
        done.code or not path.exists()
    ):  # what was fixed cannot work here, or another file was written before the last reply
        assert done.code in (0, 2)
        return
    text = path.read_text(encoding="utf-8")
    path.unlink()
    assert done.same[-2:] == ["--out", "wizard.yaml"]
    assert cli.main([*done.same[:-1], "config.yaml", "--yes"]) == 0
    capsys.readouterr()
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == text
