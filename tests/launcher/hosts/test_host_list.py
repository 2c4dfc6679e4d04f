"""Hosts as people name them: a list, or a file as mpirun and DeepSpeed read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.launcher.hosts.host_list import NamedHost, read_hosts
from slipway.training.common.errors import UserError


def test_a_list_names_hosts_users_and_processes() -> None:
    assert read_hosts("alpha, ada@beta:2,10.0.0.3,[fd00::1]:4") == [
        NamedHost(target="alpha"),
        NamedHost(target="ada@beta", processes=2),
        NamedHost(target="10.0.0.3"),
        NamedHost(target="[fd00::1]", processes=4),
    ]
    assert read_hosts("ada@[fd00::1]")[0].name == "fd00::1"


def test_a_list_may_be_longer_than_a_name_of_a_file() -> None:
    names = [f"node{number}" for number in range(1000)]
    assert [host.name for host in read_hosts(",".join(names))] == names


def test_a_file_has_a_host_a_line_with_slots(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(
        "# ours\nalpha slots=2 max_slots=4\n\nada@beta:1 python=/opt/venv/bin/python # the old one\ngamma\n"
    )
    assert read_hosts(str(path)) == [
        NamedHost(target="alpha", processes=2),
        NamedHost(target="ada@beta", processes=1, python="/opt/venv/bin/python"),
        NamedHost(target="gamma"),
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "names no host"),
        (",,", "names no host"),
        ("a,a", "a is named twice"),
        ("-oProxyCommand=x", "'-oProxyCommand=x' is no host"),
        ("-l@host", "'-l@host' is no host"),
        ("a\nb", r"--hosts a\nb: 'a\nb' is no host"),
        ("a b", "'a b' is no host"),
        ("a;b", "'a;b' is no host"),
        ("a:0", "must be a number, 1 or more"),
        ("a:x", "'a:x' is no host"),
        ("./nowhere", "--hosts nowhere: "),
    ],
)
def test_what_is_no_host_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(UserError, match=r".*") as refused:
        read_hosts(given)
    assert sentence in str(refused.value)


def test_a_word_of_a_file_that_is_not_known_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("alpha\nbeta port=22\n")
    with pytest.raises(UserError, match=r"hosts, line 2: 'port=22' is not known"):
        read_hosts(str(path))
