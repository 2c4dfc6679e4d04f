"""A run that is asked to stop again and again by SIGTERM, as a scheduler does, and taken up by `slipway resume`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.attempt import Failed
from tests.chaos.run import Run, compare
from tests.chaos.scenario import GLOBAL_BATCH_SIZE, STEPS_PER_EPOCH, Found, Kill, Scenario, passes_of_step, steps_of

EXIT_RESUMABLE = 75
_MOST_STEPS = 2
"""That may begin after the signal."""
_STEP_SECONDS = 0.2
"""A signal takes the launcher a moment, in which steps of a hundredth of a second would be many."""


class Scheduler:
    """Runs a scenario to its end; its kills are requests to stop, to the launcher and to one rank alone in turn."""

    def __init__(self, scenario: Scenario, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.scenario = scenario
        self._run = Run(scenario, folder)
        self._rng = random.Random(f"{seed} SIGTERM {scenario.name}")
        self._say = say
        self.found = Found(scenario=scenario, signal="SIGTERM")

    def run(self, reference: Run) -> Found:
        """Stop as planned, let the run finish, compare."""
        began = time.monotonic()
        ((world_size, stops),) = self.scenario.segments
        step = 0
        try:
            for number in range(stops):
                step = self._stop(world_size, step, stops - number, to_rank=number % 2 == 1)
            self._finish(world_size)
            compare(self.found, self._run, reference)
        except Failed as failure:
            self.found.problems.append(str(failure))
        self.found.seconds = time.monotonic() - began
        return self.found

    def _stop(self, world_size: int, step: int, stops_left: int, *, to_rank: bool) -> int:
        """Send SIGTERM in the middle of an epoch and return the step that the run stopped at."""
        passes_a_step = passes_of_step(GLOBAL_BATCH_SIZE, world_size)
        attempt = self._run.start(world_size, by_name=step > 0, pass_seconds=_STEP_SECONDS / passes_a_step)
        try:
            aim = step + self._rng.randint(2, max(2, (self.scenario.num_steps - step) // (stops_left + 1) // 4))
            # After it two more may be begun, and the epoch is still not over.
            aim += max(0, 4 - (STEPS_PER_EPOCH - aim % STEPS_PER_EPOCH)) + (aim % STEPS_PER_EPOCH == 0)
            if not attempt.until(lambda: step + steps_of(attempt.num_passes(), world_size, step) >= aim):
                raise Failed(f"attempt {attempt.number} ended with {attempt.process.returncode}: {attempt.said()}")
            time.sleep(self._rng.uniform(0.0, _STEP_SECONDS))
            rank = world_size - 1
            (pid,) = attempt.pids_of("rank" if to_rank else "launcher", rank, self._rng)
            os.kill(pid, signal.SIGTERM)
            asked_at = step + steps_of(attempt.num_passes(), world_size, step)
            code = attempt.finish()
            seconds = attempt.wait_until_gone()
        finally:
            attempt.close()
        self._run.note(attempt)
        begun = step + steps_of(attempt.num_passes(), world_size, step)
        manifest = self._run.newest()
        stopped_at = 0 if manifest is None else manifest.step
        told = f"SIGTERM to {f'rank {rank}' if to_rank else 'the launcher'} in step {asked_at}"
        self._say(f"{self.scenario.name}: {told}, exit code {code}, saved after step {stopped_at}")
        if code != EXIT_RESUMABLE:
            self.found.problems.append(f"{told}: exit code {code}: {attempt.said()}")
        if begun - asked_at > _MOST_STEPS or stopped_at != begun:
            self.found.problems.append(f"{told}: {begun - asked_at} more steps begun, saved after step {stopped_at}")
        if stopped_at % STEPS_PER_EPOCH == 0:
            self.found.problems.append(f"{told}: stopped between two epochs, where it was to be in the middle of one")
        self.found.kills.append(
            Kill(
                world_size=world_size,
                target=f"rank {rank}" if to_rank else "launcher",
                moment="between",
                step=asked_at,
                seconds_until_gone=seconds,
            )
        )
        return stopped_at

    def _finish(self, world_size: int) -> None:
        attempt = self._run.start(world_size, by_name=True)
        try:
            if attempt.finish() != 0:
                raise Failed(f"the last attempt ended with {attempt.process.returncode}: {attempt.said()}")
            attempt.wait_until_gone()
        finally:
            attempt.close()
        self._run.note(attempt)
