"""`run.json` names the versions and the commit that computed a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slipway.training.run import provenance
from slipway.training.run.provenance import git_commit, versions


def test_versions_and_commit_name_what_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert git_commit() is None
