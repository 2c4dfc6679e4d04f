"""The proof proves: what hostile files would do is seen."""

from __future__ import annotations

import pickle
import runpy
from pathlib import Path

from tests.hostile.proof import MARKER, Hostile, marks, nothing_runs


def test_what_runs_is_seen_and_leaves_its_marker(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / MARKER)!r}, 'w')")
    failed = False
    try:
        with nothing_runs(tmp_path) as seen:
            pickle.loads(pickle.dumps(Hostile(tmp_path)))
            assert len(marks(tmp_path)) == 1
            runpy.run_path(str(tmp_path / "code.py"))
    except AssertionError:
        failed = True
    assert failed
    assert [one.split("(")[0].split(" ")[0] for one in seen] == ["pickle.find_class", "os.system", "exec"]
