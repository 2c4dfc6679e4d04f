"""Takes a run to its end through SIGKILLs of its processes, at moments that are drawn by chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from slipway.training.storage.checkpoint import CHECKPOINTS
from tests.chaos.attempt import POLL_SECONDS, Attempt, Failed, kill
from tests.chaos.run import Run, compare
from tests.chaos.scenario import GLOBAL_BATCH_SIZE, Found, Kill, Scenario, passes_of_step, steps_of

_SAVE_SECONDS = 0.02
"""About how long a save takes here: where in it a kill falls is drawn from this."""
_RESUME_SECONDS = 0.3
_STEP_SECONDS = 0.03
"""A step takes at least so long: a fast machine would be at the run's end before a late kill has found its moment."""
_FEWEST_STEPS = 5
"""Between a restart and the next kill, where it is not to fall earlier: a checkpoint is due every 4."""
_MOST_MISSES = 3
_MOMENTS = ("inside a save", "while resuming", "as a save ends", "between", "inside a save")


class Killer:
    """Runs a scenario to its end, with its kills on the way."""

    def __init__(self, scenario: Scenario, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.scenario = scenario
        self._run = Run(scenario, folder)
        self._rng = random.Random(f"{seed} {scenario.name}")
        self._say = say
        self._sequence = 0
        self._resumes_at: int | None = None
        self.found = Found(scenario=scenario)

    def run(self, reference: Run) -> Found:
        """Kill as planned, let the run finish, compare."""
        began = time.monotonic()
        try:
            left = sum(kills for _, kills in self.scenario.segments)
            for world_size, kills in self.scenario.segments:
                for target, moment in self._plan(world_size, kills):
                    self._strike(world_size, target, moment, left)
                    left -= 1
            planned = sum(kills for _, kills in self.scenario.segments)
            if len(self.found.kills) < planned:
                self.found.problems.append(f"{len(self.found.kills)} kills could be made of {planned}")
            self._finish()
            compare(self.found, self._run, reference)
        except Failed as failure:
            self.found.problems.append(str(failure))
        self.found.seconds = time.monotonic() - began
        return self.found

    def _plan(self, world_size: int, kills: int) -> list[tuple[str, str]]:
        """Return target and moment of each kill: the targets in turn, the moments drawn, the first after some steps."""
        targets = ("everything", "rank", "launcher", *(("agent",) if world_size > 1 else ()))
        moments = [_MOMENTS[number % len(_MOMENTS)] for number in range(kills - 1)]
        self._rng.shuffle(moments)
        first, plan = len(self.found.kills), []
        for number, moment in enumerate(["between", *moments][:kills]):
            target = targets[(first + number) % len(targets)]
            # Whoever saves lives on where only the launcher or the agent is killed, and has time to tell of it.
            told = moment == "as a save ends" and target not in ("everything", "rank")
            plan.append((target, "inside a save" if told else moment))
        return plan

    def _strike(self, world_size: int, target: str, moment: str, kills_left: int) -> None:
        """Kill until a kill counts and has fallen at the moment that was asked for; others that count are kept too."""
        for _ in range(_MOST_MISSES):
            attempt = self._run.start(
                world_size,
                by_name=self._resumes_at is not None and self._rng.random() < 0.5,
                pass_seconds=_STEP_SECONDS / passes_of_step(GLOBAL_BATCH_SIZE, world_size),
            )
            try:
                struck = self._kill(attempt, world_size, target, moment, kills_left)
            finally:
                attempt.close()
            if struck is None:
                self.found.num_misses += 1
                self._say(f"{self.scenario.name}: {target} killed before the first or after the last step, not counted")
                continue
            self.found.kills.append(struck)
            resumed = "from the start" if self._resumes_at is None else f"from step {self._resumes_at}"
            self._say(
                f"{self.scenario.name}: {world_size} process{'es' if world_size > 1 else ''}, {struck.target} killed "
                f"{struck.moment} at step {struck.step}, gone after {struck.seconds_until_gone:.1f} s, goes on {resumed}"
            )
            if struck.moment == moment:
                return

    def _kill(self, attempt: Attempt, world_size: int, target: str, moment: str, kills_left: int) -> Kill | None:
        """Kill once; return it where it counts."""
        if not attempt.until(attempt.book(world_size - 1).exists) or not attempt.until(attempt.book(0).exists):
            raise Failed(f"attempt {attempt.number} ended with {attempt.process.returncode}: {attempt.said()}")
        resumed, newest = self._resumes_at or 0, self._sequence
        rank = 0 if moment == "as a save ends" else self._rng.randrange(world_size)
        pids = attempt.pids_of(target, rank, self._rng)
        self._wait_for(attempt, world_size, moment, kills_left)
        passes = attempt.num_passes()
        kill(pids)
        was_saving = self._is_saving(attempt)
        seconds = attempt.wait_until_gone()
        self._check_what_is_left(attempt, target)
        # A step is done for sure once the next one has begun.
        done = resumed + max(0, steps_of(passes, world_size, resumed) - 1)
        begun = resumed + steps_of(attempt.num_passes(), world_size, resumed)
        if done < 1 or begun >= self.scenario.num_steps:
            return None
        return Kill(
            world_size=world_size,
            target=f"rank {rank}" if target == "rank" else target,
            moment="while resuming" if passes == 0 else self._moment(newest, was_saving=was_saving),
            step=begun,
            seconds_until_gone=seconds,
        )

    def _wait_for(self, attempt: Attempt, world_size: int, moment: str, kills_left: int) -> None:
        """Wait for the moment, the rest of it drawn by chance."""
        at = self._resumes_at or 0
        if moment == "while resuming" and at > 0:
            time.sleep(self._rng.uniform(0.0, _RESUME_SECONDS))
            return
        most = max(_FEWEST_STEPS, (self.scenario.num_steps - at) // (kills_left + 1))
        passes = self._rng.randint(_FEWEST_STEPS, most) * passes_of_step(GLOBAL_BATCH_SIZE, world_size)
        attempt.until(lambda: attempt.num_passes() >= passes)
        if moment == "inside a save":
            attempt.until(lambda: self._is_saving(attempt))
            time.sleep(self._rng.uniform(0.0, _SAVE_SECONDS))
        elif moment == "as a save ends":
            before = self._checkpoints()
            attempt.until(lambda: self._checkpoints() - before)
        else:
            time.sleep(self._rng.uniform(0.0, 30 * POLL_SECONDS))

    def _moment(self, newest: int, *, was_saving: bool) -> str:
        """Return when a kill fell, as what it left shows; checkpoint `newest` was the newest before the attempt."""
        manifest = self._run.newest()
        told = {event["checkpoint"] for event in self._run.events() if event["event"] == "checkpoint"}
        if manifest is not None and manifest.sequence > newest and manifest.folder.name not in told:
            return "as a save ends"  # it is whole, and the run had no time to say so
        return "inside a save" if was_saving else "between"

    def _checkpoints(self) -> set[str]:
        return {path.name for path in (self._run.run_folder / CHECKPOINTS).glob("[!.]*")}

    def _is_saving(self, attempt: Attempt) -> bool:
        """Return whether a checkpoint of this attempt is half written, or an old one half deleted."""
        for draft in (self._run.run_folder / CHECKPOINTS).glob(".0*"):
            try:
                if draft.stat().st_ctime >= attempt.started_at:
                    return True
            except OSError:
                continue
        return False

    def _check_what_is_left(self, attempt: Attempt, target: str) -> None:
        """Check exit code, checkpoints and journal after a kill."""
        code = attempt.process.returncode
        expected = {"launcher": -9, "everything": -9, "rank": 128 + 9}.get(target)
        if code == 0 and self._run.is_finished():
            raise Failed("the run ended before all kills could be made")
        if (expected is not None and code != expected) or code == 0:
            self.found.problems.append(f"attempt {attempt.number}: {target} killed, exit code {code}: {attempt.said()}")
        self._run.note(attempt)
        self._check_resume(attempt)
        manifest = self._run.newest()
        sequence = 0 if manifest is None else manifest.sequence
        if sequence < self._sequence:
            raise Failed(f"attempt {attempt.number}: checkpoint {self._sequence} was lost, the newest is {sequence}")
        self._sequence = sequence
        self._resumes_at = None if manifest is None else manifest.step

    def _check_resume(self, attempt: Attempt) -> None:
        """Check that an attempt, where it came so far, took up the newest checkpoint there was."""
        if self._resumes_at is None or not self._run.is_journalled(attempt):
            return
        events = self._run.events()
        start = max(number for number, event in enumerate(events) if event["event"] == "run")
        resumes = [event["step"] for event in events[start:] if event["event"] == "resume"]
        has_trained = any(event["event"] == "step" for event in events[start:])
        if (resumes or has_trained) and resumes != [self._resumes_at]:
            said = f"resumed at {resumes}, not from the checkpoint of step {self._resumes_at}"
            self.found.problems.append(f"attempt {attempt.number}: {said}")

    def _finish(self) -> None:
        world_size = self.scenario.segments[-1][0]
        attempt = self._run.start(world_size)
        try:
            if attempt.finish() != 0:
                raise Failed(f"the last attempt ended with {attempt.process.returncode}: {attempt.said()}")
            attempt.wait_until_gone()
        finally:
            attempt.close()
        self._run.note(attempt)
        self._check_resume(attempt)
        if not self._run.is_finished():
            raise Failed("the last attempt ended with 0, but the run is not finished")
