"""Run every block of the documentation as a reader would: each page in a folder of its own, its commands, then its Python.

What a page marks as not run is left out, and so are the two READMEs, whose blocks the tests run. Of what a page shows of a
command's output the lines are compared that say what is wrong; its exit code is compared too.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import workshop
from .pages import PAGES, PYTHON, READMES, Command, blocks_of, commands_of

_SECONDS = 300
_JUDGEMENTS = ("error: ", "warning: ", "note: ", "fail  ", "warn  ")
_WHEELS = ("https://download.pytorch.org/whl", "<PyTorch's wheel index>")


def run_page(page: str, folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Run the blocks of a page in a folder; yield the place of each command, and what is wrong with it or None."""
    if before := workshop.BEFORE_COMMANDS.get(page):
        run(before, folder, variables).check_returncode()
    blocks = [block for block in blocks_of(page) if block.reason is None]
    for block in blocks:
        for command in commands_of(block):
            yield f"{block.place} {command.words}", fault_of(command, run(command.words, folder, variables))
    code = "\n\n".join(block.text for block in blocks if block.language in PYTHON)
    if code:
        (folder / "page.py").write_text(workshop.BEFORE_PYTHON.get(page, "") + code, encoding="utf-8")
        done = run("python page.py", folder, variables)
        yield f"{page} its Python", None if done.returncode == 0 else end_of(done)


def run(words: str, folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell; return it with what it printed, to both ends, as `stdout`."""
    try:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", words],
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(words, 124, stdout=str(error.stdout))


def fault_of(command: Command, done: subprocess.CompletedProcess[str]) -> str | None:
    """Return how a command ended otherwise than its page says, or None."""
    wanted = command.code if command.code is not None else 0
    if done.returncode != wanted:
        return f"exit code {done.returncode}, not {wanted}\n{end_of(done)}"
    said = done.stdout.replace(*_WHEELS)
    shown = () if command.block.printed_elsewhere else command.printed
    missing = [line for line in shown if line.startswith(_JUDGEMENTS) and line.rstrip() not in said]
    return "not printed: " + "\n".join(missing) + f"\n{end_of(done)}" if missing else None


def end_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines that a program printed."""
    return "\n".join(f"    {line}" for line in done.stdout.splitlines()[-15:])


def main() -> int:
    """Run the pages that are named, or all; return 1 if a command ended otherwise than its page says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as docs/tasks.md; all unless given")
    pages = parser.parse_args().pages or [page for page in PAGES if page not in READMES]
    faults = commands = 0
    with tempfile.TemporaryDirectory(prefix="slipway-docs-") as top:
        start = Path(top) / "start"
        start.mkdir()
        workshop.build(start)
        variables = workshop.environment(Path(top))
        workshop.train_a_run(start, variables)
        for page in pages:
            began = time.monotonic()
            folder = Path(top) / Path(page).stem
            shutil.copytree(start, folder, symlinks=True)
            of_page = 0
            for place, fault in run_page(page, folder, variables):
                of_page += 1
                faults += fault is not None
                if fault:
                    print(f"{place}\n  {fault}", flush=True)
            commands += of_page
            print(f"{page}: {of_page} in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{commands} commands and scripts of {len(pages)} pages, {faults} ended otherwise than their page says")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
