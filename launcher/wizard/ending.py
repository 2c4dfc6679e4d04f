"""The last question: write the file, train now, show the command, or nothing; and doing it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.plan_file import LaunchPlan
from ...training.common.program.shown import printable
from ...training.common.small_files import expanded
from ..plan.accelerate.config import launch_command, to_yaml, training_flags
from ..plan.config_command import config_name, write_checked
from .dialogue import Dialogue
from .script import is_own_training, script_exists, script_name, script_words
from .state import WizardState

_PROMPT = "Enter writes it; 1 to 4, or another path:"


@dataclass(kw_only=True)
class Ending:
    """What is done with a plan, and what was done so far."""

    dialogue: Dialogue
    out: str | None = None
    overwrites: bool = False
    outcome: str = "nothing was written"

    def ask(self, state: WizardState) -> int:
        """Ask what to do now and do it; return the exit code. Raises `UserError` where the input ends, and `Quit`."""
        while True:
            path, note = self._free_path(state.plan)
            problem = self._why_no_training(state)
            self.dialogue.say("What now?", "bold")
            train = f"not possible: {problem}" if problem else f"now: {_launch_line(state)}"
            texts = {
                "write": f"{path}, {note}",
                "train": train,
                "show": "the command, and write nothing",
                "nothing": "",
            }
            for number, (name, text) in enumerate(texts.items(), 1):
                self.dialogue.item(str(number), name, text, name_width=len("nothing"))
            reply = self.dialogue.reply(_PROMPT)
            try:
                return self._do(reply, state, path, problem)
            except UserError as error:
                self.dialogue.refuse(reply, error, str(error))

    def _do(self, reply: str, state: WizardState, path: Path, problem: str) -> int:
        if reply == "2":
            if problem:
                raise UserError(problem)
            return self._train(state)
        if reply == "3":
            self._tell_same(state, None)
            print(printable(_launch_line(state)), flush=True)
            return 0
        if reply == "4":
            self._tell_same(state, None)
            self.dialogue.say(f"left: {self.outcome}")
            return 0
        if reply not in ("", "1"):
            path = expanded(reply)
            if path.suffix not in (".yaml", ".yml"):
                raise UserError(f"{reply!r} is none of 1 to 4, nor a path that ends in .yaml")
            if self._is_kept(path, state.plan):
                raise UserError(f"{path} holds something else; name another file")
        self.write(state, path)
        return 0

    def write(self, state: WizardState, path: Path) -> None:
        """Write the config once Accelerate has read it as planned, and print the command that starts it. Raises `UserError`."""
        self.dialogue.say("Accelerate reads it ...")
        write_checked(path, state.plan)
        self.outcome = f"{path} is written"
        self.dialogue.say(f"{path}: written; Accelerate reads it as planned.")
        self._tell_same(state, path)
        self.dialogue.say("Start with this, or with the line after it:")
        script = script_words(state.script, state.intent)
        flags = training_flags(state.plan, script) if is_own_training(state.script) else []
        print(printable(str(launch_command(state.plan, path, [*script, *flags]))), flush=True)
        self.dialogue.say_whole(_launch_line(state))

    def path_of(self, plan: LaunchPlan) -> Path:
        """Return where the config goes if nobody says another path: where `slipway config` writes it."""
        return Path(self.out or Path("accelerate_configs") / f"{config_name(plan)}.yaml")

    def _free_path(self, plan: LaunchPlan) -> tuple[Path, str]:
        """Return the path, or one beside it where it holds something else, with a note."""
        path = self.path_of(plan)
        if not self._is_kept(path, plan):
            return path, "it holds this plan already" if path.exists() else "a new file"
        number = 2
        while (free := path.with_stem(f"{path.stem}_{number}")).exists() and self._is_kept(free, plan):
            number += 1
        return free, f"{path.name} holds something else and is kept"

    def _is_kept(self, path: Path, plan: LaunchPlan) -> bool:
        """Return whether a file other than this plan's config is at `path`. Raises `UserError` where it cannot be read."""
        if self.overwrites:
            return False
        try:
            return path.exists() and path.read_bytes() != to_yaml(plan).encode()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None

    def _tell_same(self, state: WizardState, path: Path | None) -> None:
        out = [] if path is None or path == Ending(dialogue=self.dialogue).path_of(state.plan) else ["--out", str(path)]
        line = shlex.join(["slipway", "config", *state.machine.options, *state.command_options(), *out])
        self.dialogue.say_whole(f"The same without questions: {line}")

    def _why_no_training(self, state: WizardState) -> str:
        """Return why the training cannot be started from here; nothing where it can."""
        if not state.machine.is_here:
            return "it is the plan of another machine"
        return "" if script_exists(state.script) else f"{script_name(state.script)} is not in this folder"

    def _train(self, state: WizardState) -> int:
        from ..launch.command import main as launch

        self._tell_same(state, None)
        return launch([*state.command_options(), *script_words(state.script, state.intent)])


def _launch_line(state: WizardState) -> str:
    return shlex.join(["slipway", "launch", *state.command_options(), *script_words(state.script, state.intent)])
