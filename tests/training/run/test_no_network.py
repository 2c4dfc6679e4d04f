"""A run of one process on local data opens no connection: an audit hook sees every one that Python opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

_PROGRAM = """
import sys
opened = []
network = ("socket.connect", "socket.getaddrinfo", "socket.bind")
sys.addaudithook(lambda name, args: opened.append(name) if name in network else None)
from slipway import TrainingConfig, train
train(TrainingConfig(data=sys.argv[1], max_steps=2, stages_config="minimal", device="cpu", log_level="warning"))
print("opened", opened)
"""


def test_a_run_of_one_process_on_local_data_opens_no_connection(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, part in enumerate(("train", "test")):
        rows = [
            {"landmarks": [[[clip / 9, (point + number) / 3] for point in range(5)]] * 6, "label": "ab"[clip % 2]}
            for clip in range(12)
        ]
        (data / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "README.md").write_text("---\nlicense: mit\n---\nThe card of https://example.com/data.\n")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(data)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "opened []"
