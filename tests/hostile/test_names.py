"""Names of classes, signers, stages, experiments, hosts and partitions that are HTML, shell, paths or terminal commands."""

from __future__ import annotations

import html.parser
import io
import json
import re
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from slipway import TensorTask, TrainingConfig, UserError, train
from slipway.launcher import cli
from slipway.launcher.hardware.record import Hardware
from slipway.launcher.plan.accelerate.config import launch_command, to_yaml
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from slipway.training.storage.run_folder import create_run_folder
from tests.hostile.proof import MARKER, marks, nothing_runs
from tests.launcher.machines import machines

HTML = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</style><b>bold</b>", "&lt;b&gt;")
TERMINAL = ("\x1b[2J\x1b]0;mine\x07", "\x9b31mred", "a\rb", "left\u202ethgir", "[red]x[/red] [/]")
SHELL = (
    f"$(touch {MARKER})",
    f"`touch {MARKER}`",
    f"x; touch {MARKER} #",
    f"'; touch {MARKER}; '",
    f"x\ntouch {MARKER}",
)
PATHS = ("../../x", "/etc/x", "..", "a/../../b", "~/x", "x\0y")
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Tags(html.parser.HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def printed(*arguments: str, code: int = 0) -> str:
    """Return what a command prints, once it is seen that nothing of it commands a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert cli.main(list(arguments)) == code, err.getvalue()
    shown = out.getvalue() + err.getvalue()
    assert not COMMANDS.search(shown), shown
    return shown


def test_names_in_data_are_text_in_the_terminal_in_json_and_on_the_page(tmp_path: Path) -> None:
    names = np.array((*HTML, *TERMINAL, *SHELL, *PATHS[:5]))
    count = 2 * len(names)
    source = tmp_path / "<b>'$(x)\x1b[31m.npz"
    np.savez(
        source,
        X=np.random.default_rng(0).normal(size=(count, 3, 21, 3)).astype(np.float32),
        y=names[np.arange(count) % len(names)],
        signers=names[np.arange(count) // 2],
    )
    with nothing_runs(tmp_path):
        shown = printed("data", "inspect", str(source), "--out", "page.html")
        record = json.loads(printed("data", "inspect", str(source), "--json"))
    assert "<script>" in shown
    assert "\\x1b[2J" in shown
    assert len(record["classes"]) == len(set(names.tolist()))
    page = Path("page.html").read_text(encoding="utf-8")
    assert not COMMANDS.search(page)
    found = Tags(page)
    assert not found.tags & {"script", "img", "b", "iframe", "object", "link"}
    assert not [name for name in found.attributes if name.startswith("on")]
    assert page.count("</style>") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, "page.html"])


def test_names_in_a_training_are_text_on_the_console_and_in_a_notebook(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [*HTML, *TERMINAL, *SHELL]
    stages = [{"name": f"{HTML[0]}{TERMINAL[0]}{TERMINAL[4]}", "epochs": 1}]
    Path("stages.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    labels = torch.arange(28) % len(names)
    splits = {split: (torch.randn(28, 4), labels) for split in ("train", "validation", "test")}
    task = TensorTask(lambda: nn.Linear(4, len(names)), splits, class_names=names)
    config = TrainingConfig(stages_config="stages.yaml", device="cpu", max_steps=2, experiment_name="plain")
    result = train(config, task)
    assert marks(tmp_path) == []
    shown = "".join(capfd.readouterr())
    assert "script" in shown
    assert not COMMANDS.search(shown)
    assert not Tags(result._repr_html_()).tags & {"script", "img", "b"}
    assert not COMMANDS.search(printed("runs"))


def test_an_experiment_has_a_folders_name_or_is_refused(tmp_path: Path) -> None:
    for name in (*SHELL, *PATHS, *TERMINAL, *HTML, "-rf", ".hidden", ""):
        with pytest.raises(UserError, match="--experiment-name"):
            create_run_folder(tmp_path / "runs", name, overwrite=True)
    task = TensorTask(lambda: nn.Linear(2, 2), {"train": (torch.zeros(4, 2), torch.arange(4) % 2)})
    with nothing_runs(tmp_path), pytest.raises(UserError, match="--experiment-name"):
        train(TrainingConfig(device="cpu", experiment_name=SHELL[0]), task)
    assert not list(tmp_path.rglob("*.json"))


def hostile_machine(name: str) -> Hardware:
    """Return a machine of a SLURM job, all of whose names are `name`."""
    machine = machines()["slurm_step_4_nodes"]
    slurm = machine.scheduler.slurm
    assert slurm is not None
    return replace(
        machine,
        hostname=name,
        accelerators=tuple(replace(one, name=name) for one in machine.accelerators),
        network=tuple(replace(one, name=name) if not one.loopback else one for one in machine.network),
        scheduler=replace(machine.scheduler, slurm=replace(slurm, job_id=name, node_list=f"{name}[1-4]")),
    )


@pytest.mark.parametrize("name", [SHELL[0], SHELL[4], TERMINAL[0], f"{HTML[0]}{TERMINAL[4]}", "a\nfsdp_config: {x: 1}"])
def test_the_record_of_a_machine_is_no_syntax_of_a_terminal_or_of_yaml(tmp_path: Path, name: str) -> None:
    machine = hostile_machine(name)
    Path("machine.json").write_text(machine.to_json(), encoding="utf-8")
    Path("train.py").touch()
    with nothing_runs(tmp_path):
        shown = printed("plan", "--hardware", "machine.json", "--main-process-ip", "node1")
        shown += printed("launch", "--dry-run", "--hardware", "machine.json", "--main-process-ip", "node1", "train.py")
    assert name.split("\n")[0].split("\x1b")[0] in shown
    plan = make_plan(machine, Intent(main_process_ip="node1"))
    assert "fsdp_config" not in yaml.safe_load(to_yaml(plan))
    assert not COMMANDS.search(to_yaml(plan))


@pytest.mark.parametrize("name", SHELL)
def test_a_host_is_refused_and_is_no_syntax_of_a_shell(tmp_path: Path, name: str) -> None:
    machine = machines()["slurm_step_4_nodes"]
    with pytest.raises(UserError, match=r"^--main-process-ip .*: |^--main-process-ip .* is no "):
        make_plan(machine, Intent(main_process_ip=name, num_machines=4, machine_rank=0))
    plan = replace(make_plan(machine), main_process_ip=name)
    assert yaml.safe_load(to_yaml(plan))["main_process_ip"] == name
    plan = replace(plan, environment={**plan.environment, "NCCL_SOCKET_IFNAME": name})
    command = str(launch_command(plan, f"{name}.yaml", ["train.py", name]))
    done = subprocess.run(
        ["bash", "-c", f'accelerate() {{ printf "%s\\0" "$NCCL_SOCKET_IFNAME" "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split("\0")
    assert (words[0], words[3], words[-3:-1]) == (name, f"{name}.yaml", ["train.py", name])
    assert marks(tmp_path) == []
