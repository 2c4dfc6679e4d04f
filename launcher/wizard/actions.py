"""What the wizard does with a plan: show it, write it, print the command, run the self-test, launch."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.plan_file import LaunchPlan
from ..hardware.record import Hardware
from ..plan.accelerate.config import launch_command, training_flags
from ..plan.config_command import write_checked
from ..plan.make_plan import make_plan
from ..plan.table import draw
from .answers import Answers, save_answers, to_plan_options
from .destination import default_path, holds_something_else
from .remarks import remarks
from .script import is_own_training, script_exists, script_name, script_words
from .state import WizardState

if TYPE_CHECKING:
    from .dialogue import Dialogue


@dataclass(kw_only=True)
class WizardActions:
    """The actions of one call of the wizard, with its flags and what was done so far."""

    dialogue: Dialogue
    for_another_machine: bool
    overwrite: bool
    answers_from: str | None
    save_to: str | None
    outcome: str = "nothing was written"

    def run_answers(self, hardware: Hardware, answers: Answers) -> int:
        """Do without questions what the answers say, and else what is recommended; return the exit code.

        Raises `UserError` for answers that cannot work; then nothing is written.
        """
        try:
            plan = make_plan(hardware, answers.intent)
        except UserError as error:
            raise UserError(f"{self.answers_from}: {error}" if self.answers_from else str(error)) from None
        if answers.launch and not script_exists(answers):
            raise UserError(f"{script_name(answers)}: no such file, so it cannot be launched; --script names another")
        path = None if answers.write is False else Path(answers.out or default_path(plan))
        if path and not self.overwrite and holds_something_else(path, plan):
            raise UserError(f"{path} holds something else; --yes overwrites it, --out FILE writes another")
        self.show(plan)
        for remark in remarks(WizardState(hardware=hardware, answers=answers, plan=plan)):
            self.dialogue.warn(remark, "note")
        if path:
            self.write(path, plan)
        self.print_command(plan, answers, path)
        self.save(answers)
        code = self.test(answers) if answers.self_test else 0
        if code or not answers.launch:
            return code
        return self.launch(answers)

    def show(self, plan: LaunchPlan) -> None:
        """Show the plan with its warnings and reasons."""
        self.dialogue.say()
        for part in draw(plan):
            self.dialogue.show(part)

    def write(self, path: Path, plan: LaunchPlan) -> None:
        """Write the config once Accelerate has read it as planned. Raises `UserError`."""
        self.dialogue.say("Accelerate reads it back ...")
        write_checked(path, plan)
        self.outcome = f"{path} is written"

    def print_command(self, plan: LaunchPlan, answers: Answers, path: Path | None) -> None:
        """Print the command that starts the plan; it is all that goes to stdout."""
        script = script_words(answers)
        launch = shlex.join(["slipway", "launch", *to_plan_options(answers.intent), *script])
        if path is None:
            self.dialogue.say("No file is written. Start with:")
            print(launch, flush=True)
            return
        self.dialogue.say(f"{path}: Accelerate reads it as planned. Start with:")
        flags = training_flags(plan, script) if is_own_training(answers) else []
        print(launch_command(plan, path, [*script, *flags]), flush=True)
        self.dialogue.say(f"or let Slipway start it: {launch}", is_folded=False)

    def save(self, answers: Answers) -> None:
        """Write the answers to the file of `--save-answers`, if it is given. Raises `UserError`."""
        if self.save_to:
            save_answers(self.save_to, answers)
            self.dialogue.say(f"Replay with: slipway wizard --answers {shlex.quote(self.save_to)}", is_folded=False)

    def test(self, answers: Answers) -> int:
        """Run the self-test for the plan; return its exit code. Raises `KeyboardInterrupt` where Ctrl-C stopped it."""
        from ..doctor.command import main as doctor

        code = doctor(to_plan_options(answers.intent))
        sys.stdout.flush()
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        return code

    def launch(self, answers: Answers) -> int:
        """Start the script as planned; return its exit code."""
        from ..launch.command import main as launch

        return launch([*to_plan_options(answers.intent), *script_words(answers)])
