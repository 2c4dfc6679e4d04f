"""`slipway compare`: what it finds to differ, which runs it takes together, and what its numbers and tests say."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import UserError
from slipway.launcher import cli
from slipway.launcher.cli import main
from slipway.results.compare.comparison import Comparison, compare
from slipway.results.compare.curves import charts_of
from slipway.results.compare.members import groups_of, read_members
from slipway.results.compare.page import make_page
from slipway.results.compare.samples import losses_of, right_of
from slipway.results.compare.screen import show
from tests.launcher.helpers import assert_one_line_error
from tests.results.compare.runs import train_blobs

RECIPES = {"slow": {}, "fast": {"learning_rate": 0.1, "batch_size": 16}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the studies `slow` and `fast` of two seeds, which differ in their recipe, and their runs alone.

    The runs are copies of the parts: `slow-1`, `slow-2`, `fast-1` and `fast-2`.
    """
    folder = tmp_path_factory.mktemp("runs")
    for name, options in RECIPES.items():
        study = train_blobs(folder, name, seeds=2, **options)
        for seed in (0, 1):
            shutil.copytree(study / f"seed-{seed}", folder / f"{name}-{seed + 1}")
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def change(path: Path, *keys: str, value: Any) -> None:
    """Set a value in a JSON file."""
    record = json.loads(path.read_text())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(record))


def compared(runs_dir: Path, *names: str) -> Comparison:
    return compare(*read_members(names, runs_dir))


def found(runs_dir: Path, *names: str) -> dict[str, tuple[str, ...]]:
    """Return what differs, by name, but for commits and the machine."""
    return {one.name: one.values for one in compared(runs_dir, *names).differences}


def screen(comparison: Comparison, width: int = 80) -> str:
    console = Console(width=width, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    show(comparison, console, all_metrics=True)
    return console.export_text()


def test_runs_that_differ_only_in_the_seed_are_one_group_paired_by_seed(runs: Path) -> None:
    comparison = compared(runs, "slow-1", "slow-2", "fast-2", "fast-1")
    assert [(group.name, len(group.members)) for group in comparison.groups] == [("slow", 2), ("fast", 2)]
    assert [(one.option, one.values) for one in comparison.differences if one.option] == [
        ("--learning-rate", ("0.002", "0.1")),
        ("--batch-size", ("32", "16")),
    ]
    accuracy = comparison.metrics[0]
    assert accuracy.name == "test_accuracy"
    by_seed = [
        {
            seed: json.loads((runs / name / f"seed-{seed}/run.json").read_text())["result"]["test_accuracy"]
            for seed in "01"
        }
        for name in ("slow", "fast")
    ]
    estimates = [one for one in accuracy.estimates if one is not None]
    assert [dict(one.values) for one in estimates] == by_seed
    assert [one.over for one in estimates] == ["2 seeds", "2 seeds"]
    test = next(one for one in comparison.tests if one.metric == "test_accuracy" and one.unit == "seed")
    differences = [by_seed[1][seed] - by_seed[0][seed] for seed in "01"]
    assert (test.kind, test.pairs) == ("paired_t", 2)
    assert test.found.difference == pytest.approx(sum(differences) / 2)
    half = 12.7062047 * abs(differences[0] - differences[1]) / 2
    assert test.found.interval == pytest.approx((sum(differences) / 2 - half, sum(differences) / 2 + half), rel=1e-6)


def test_two_single_runs_are_tested_on_the_same_samples(runs: Path) -> None:
    comparison = compared(runs, "slow-1", "fast-1")
    test = next(one for one in comparison.tests if one.metric == "test_accuracy")
    rights = [right_of(json.loads((runs / f"{name}-1/answers.json").read_text()), "test") for name in RECIPES]
    assert rights[0] is not None
    assert rights[1] is not None
    only = [sum(a > b for a, b in zip(*pair, strict=True)) for pair in (rights, rights[::-1])]
    assert (test.kind, test.pairs, test.only_reference, test.only_other) == ("mcnemar", 200, *only)
    results = [json.loads((runs / f"{name}-1/run.json").read_text())["result"] for name in RECIPES]
    assert test.found.difference == pytest.approx(results[1]["test_accuracy"] - results[0]["test_accuracy"])
    loss = next(one for one in comparison.tests if one.metric == "test_loss")
    assert loss.kind == "paired_t_of_samples"
    assert loss.found.difference == pytest.approx(results[1]["test_loss"] - results[0]["test_loss"], rel=1e-5)
    assert f"{only[0]} only slow-1 answers rightly, {only[1]} only fast-1" in " ".join(screen(comparison).split())


def test_answers_to_other_samples_are_not_paired_and_it_is_said(runs: Path) -> None:
    for keys in (("recipe", "task", "data_fingerprint"), ("data", "fingerprint")):
        change(runs / "fast-1/run.json", *keys, value="another")
    comparison = compared(runs, "slow-1", "fast-1")
    assert comparison.tests == ()
    assert "not measured on the same samples" in comparison.remarks[0]
    assert "samples and their split, as a hash" in found(runs, "slow-1", "fast-1")
    assert "No test: it takes two seeds" in screen(comparison)


def test_seeds_that_the_groups_do_not_share_are_not_paired(runs: Path) -> None:
    for name in ("fast-1", "fast-2"):
        seed = json.loads((runs / name / "run.json").read_text())["recipe"]["seed"]
        change(runs / name / "run.json", "recipe", "seed", value=seed + 10)
    test = next(one for one in compared(runs, "slow-1", "slow-2", "fast-1", "fast-2").tests if one.unit != "sample")
    assert (test.kind, test.pairs) == ("welch_t", 4)


def test_three_recipes_are_held_against_the_first_with_adjusted_p_values(runs: Path) -> None:
    shutil.copytree(runs / "fast-1", runs / "third-1")
    change(runs / "third-1/run.json", "recipe", "optimizer", "clip_norm", value=9.0)
    comparison = compared(runs, "slow-1", "fast-1", "third-1")
    tests = [one for one in comparison.tests if one.metric == "test_accuracy"]
    assert [(one.reference, one.other) for one in tests] == [("slow-1", "fast-1"), ("slow-1", "third-1")]
    assert all(one.p_adjusted == pytest.approx(min(1.0, 2 * one.found.p)) for one in tests)
    assert "Holm" in screen(comparison)


def test_the_report_of_a_study_shows_its_runs_together_and_leads_to_theirs(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = runs / "slow"
    assert cli.main(["report", str(study / "seed-0"), str(study)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(study / "report.html")
    page = (study / "report.html").read_text()
    assert '<a href="seed-0/report.html">' in page
    assert "seed-1/report.html" not in page  # it has none
    assert "Student's t" in page or "over 2 seeds" in page
    (study / "seed-1" / "run.json").unlink()
    assert cli.main(["report", str(study)]) == 2
    assert "slipway compare: only one run to compare" in capsys.readouterr().err


def test_a_study_is_compared_as_a_whole(trained: Path) -> None:
    comparison = compared(trained, "slow", "fast")
    assert [(group.name, [one.name for one in group.members]) for group in comparison.groups] == [
        ("slow", ["slow/seed-0", "slow/seed-1"]),
        ("fast", ["fast/seed-0", "fast/seed-1"]),
    ]
    assert next(iter(comparison.tests)).kind == "paired_t"
    result = json.loads((trained / "slow/run.json").read_text())["result"]
    estimate = comparison.metrics[0].estimates[0]
    assert estimate is not None
    assert estimate.mean == pytest.approx(result["mean_test_accuracy"])
    assert estimate.interval == pytest.approx(tuple(result["interval_test_accuracy"]))
    # Curves of other batches go over the samples, of which both see as many.
    charts = charts_of(comparison.groups)
    assert {chart.x_name for chart in charts} == {"samples"}
    assert {one.points[-1][0] for one in charts[0].series} == {128.0}


def test_folds_are_paired_by_fold_and_the_test_knows_that_they_share_samples(runs: Path) -> None:
    """Of studies whose records are written by hand: runs of the same folds of the same data."""
    for study, recipe in (("plain", "slow"), ("changed", "fast")):
        parts = []
        for fold in (1, 2, 3):
            folder = runs / study / f"fold-{fold}"
            shutil.copytree(runs / f"{recipe}-1", folder)
            change(folder / "run.json", "recipe", "task", "options", value={"data": {"folds": 3, "fold": fold}})
            change(
                folder / "run.json",
                "result",
                "test_accuracy",
                value=0.5 + fold / 10 + (0.05 * fold if recipe == "fast" else 0),
            )
            parts.append({"name": folder.name, "options": {"fold": fold}, "state": "finished"})
        record = {"name": study, "state": "finished", "study": {"folds": 3}, "result": {"runs": parts}}
        (runs / study / "run.json").write_text(json.dumps(record))
    comparison = compared(runs, "plain", "changed")
    test = next(one for one in comparison.tests if one.metric == "test_accuracy" and one.unit == "fold")
    assert (test.pairs, test.shares_training) == (3, True)
    t = 0.1 / (0.05 * math.sqrt(1 / 3 + 1 / 2))
    assert test.found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))  # of two degrees of freedom
    assert "Nadeau and Bengio" in screen(comparison)


def test_what_differs_is_named_by_its_option_and_nothing_else_is_listed(runs: Path) -> None:
    record = Path(shutil.copytree(runs / "slow-1", runs / "changed-1")) / "run.json"
    change(record, "recipe", "stages", 0, "weight_decay", value=0.5)  # type: ignore[arg-type]
    change(record, "plan", "world_size", value=4)
    change(record, "versions", "torch", value="9.9")
    change(record, "script_files", value={"model.py": "abc"})
    change(record, "data", "classes", value=4)
    assert found(runs, "slow-1", "changed-1") == {
        "--weight-decay": ("0.05", "0.5"),
        "--num-processes": ("1", "4"),
        "classes": ("3", "4"),
        "version of torch": (json.loads((runs / "slow-1/run.json").read_text())["versions"]["torch"], "9.9"),
        "content of model.py, as a hash": ("none", "abc"),
    }


def test_other_weights_at_the_start_are_another_recipe_with_the_same_seed(runs: Path) -> None:
    shutil.copytree(runs / "slow-1", runs / "loaded-1")
    change(runs / "loaded-1/run.json", "recipe", "task", "weights_fingerprint", value="pretrained")
    members, _ = read_members(["slow-1", "loaded-1"], runs)
    assert len(groups_of(members)) == 2
    assert found(runs, "slow-1", "loaded-1")["weights at the start, as a hash"][1] == "pretrained"


def test_a_group_alone_has_its_interval_and_no_test(runs: Path) -> None:
    comparison = compared(runs, "slow-1", "slow-2")
    assert len(comparison.groups) == 1
    assert comparison.tests == ()
    assert "one group of 2 runs: there is no difference to test" in comparison.remarks[0]
    assert "--seed" in screen(comparison)


def test_a_run_that_still_trains_or_has_no_test_is_compared_by_the_validation(runs: Path) -> None:
    change(runs / "fast-1/run.json", "result", value={})
    change(runs / "fast-1/run.json", "state", value="interrupted")
    comparison = compared(runs, "slow-1", "fast-1")
    assert comparison.metrics[0].name == "validation_accuracy"
    assert "fast-1 is not tested: all numbers are of the validation" in comparison.remarks[0]
    assert "not finished: fast-1" in comparison.remarks[1]


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_and_values_full_of_markup_come_out_as_text_on_page_and_screen(runs: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[2J\u202e"
    (runs / "slow-1").rename(runs / hostile)
    change(runs / hostile / "run.json", "versions", hostile, value="</script><b>")
    comparison = compared(runs, hostile, "fast-1")
    page = make_page(comparison, Path("compare.html"))
    read = Page(page)
    assert read.tags.count("script") == read.tags.count("style") == 1
    assert not {"img", "b", "iframe", "link"} & set(read.tags)
    assert not [name for name in read.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert "</script><b>" in read.text
    assert "<img src=x onerror=alert(1)>\\x1b[2J\\u202e" in read.text


def test_the_screen_fits_narrow_and_wide_terminals(runs: Path) -> None:
    for number in range(6):
        shutil.copytree(runs / "slow-1", runs / f"other-{number}")
        change(runs / f"other-{number}/run.json", "recipe", "optimizer", "clip_norm", value=float(number + 2))
    comparison = compared(runs, "slow-1", "fast-1", *(f"other-{number}" for number in range(6)))
    for width in (40, 80, 200):
        shown = screen(comparison, width)
        assert max(map(len, shown.splitlines())) <= width
        assert "--clip-norm" in shown
        assert "other-5" in shown


def test_the_command_prints_writes_a_page_and_answers_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--runs-dir", str(runs), "slow-1", "slow-2", "fast-1", "fast-2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"page: {runs / 'compare.html'}"
    assert "Student's paired t test" in printed
    assert (runs / "compare.html").stat().st_size < 200_000
    (runs / "compare.html").unlink()
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert not (runs / "compare.html").exists()
    assert answer["schema_version"] == 1
    assert answer["differences"][0] == {
        "section": "recipe", "name": "--learning-rate", "option": "--learning-rate", "values": {"slow": "0.002", "fast": "0.1"},
    }  # fmt: skip
    assert answer["metrics"][0]["name"] == "test_accuracy"
    assert set(answer["metrics"][0]["groups"]) == {"slow", "fast"}
    assert answer["tests"][0]["kind"] == "paired_t"
    assert main([*arguments, "--json", "--page", str(runs / "mine.html")]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == str(runs / "mine.html")


def test_what_cannot_be_compared_is_said_in_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--runs-dir", str(runs)]
    for more, message in (
        (["slow-1"], "slipway compare: only one run to compare; give two or more, or studies of several"),
        (["slow-1", "slow-1"], "only one run to compare"),
        (["slow-1", "fst-1"], "no such run, here or in"),
        (["slow-1", "fast-1", "--page", str(runs)], "a folder; give the name of a file"),
        (["slow-1", "fast-1", "--page", str(runs / "no/page.html")], "no such folder"),
        (["slow-1", "fast-1", "--page", "x.html", "--no-page"], "exclude each other"),
    ):
        assert_one_line_error([*words, *more], message, capsys)
    (runs / "fast-1/run.json").write_text("{")
    assert_one_line_error([*words, "slow-1", "fast-1"], "fast-1/run.json", capsys)


def test_damaged_answers_and_journals_leave_out_what_they_hold(runs: Path) -> None:
    change(runs / "fast-1/answers.json", "right", value="!!")
    change(runs / "fast-1/answers.json", "mistakes", value=99)
    change(runs / "fast-1/answers.json", "losses", value=base64.b64encode(b"1234").decode())
    (runs / "fast-1/events.jsonl").unlink()
    comparison = compared(runs, "slow-1", "fast-1")
    assert comparison.tests == ()
    assert "slow-1" in make_page(comparison, Path("compare.html"))
    assert (
        losses_of({"split": "test", "samples": 1, "losses": base64.b64encode(b"\0\0\xc0\x7f").decode()}, "test") is None
    )


def test_a_run_of_before_the_answers_were_kept_tells_them_if_all_its_mistakes_are_listed() -> None:
    answers = {"split": "test", "samples": 4, "mistakes": 2, "worst": [{"index": 3}, {"index": 0}]}
    assert right_of(answers, "test") == [0, 1, 1, 0]
    assert right_of({**answers, "mistakes": 3}, "test") is None
    assert right_of(answers, "validation") is None


def test_a_page_that_cannot_be_written_is_refused_in_one_line(runs: Path) -> None:
    (runs / "compare.html").mkdir()
    with pytest.raises(UserError, match=r"compare\.html: .*; make room, or give another folder"):
        main_without_catching(["--runs-dir", str(runs), "slow-1", "fast-1"])


def main_without_catching(arguments: list[str]) -> None:
    from slipway.results.compare.command import main as compare_runs

    compare_runs(arguments)
