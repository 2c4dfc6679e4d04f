"""What a report shows, read from the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ...training.common.conversion import from_mapping
from ...training.common.errors import UserError
from ...training.common.run_names import ANSWERS, is_held
from ...training.common.small_files import UnreadableError, read_json
from ..common.run_files import read_run
from ..common.values import items, mapping, rows, text
from .classes import Confusion, read_confusion
from .curves import Chart, History, charts_of, charts_of_speed, read_history
from .samples import is_seen


class Drawing(NamedTuple):
    """A sample that is drawn."""

    svg: str
    frames: int


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a run has written, in the forms in which it is shown."""

    folder: Path
    record: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    answers: Mapping[str, Any]
    """What the run kept of its answers; empty before its end."""
    spec: Mapping[str, Any]
    """What stands beside the best weights; empty before there are any."""
    is_held: bool
    """Whether a process trains the run."""

    @cached_property
    def history(self) -> History:
        """The course of the run."""
        return read_history(self.events, [text(stage, "name") for stage in rows(self.record, "recipe", "stages")])

    @cached_property
    def charts(self) -> list[Chart]:
        """The curves of what was learned."""
        return charts_of(self.history)

    @cached_property
    def speed_charts(self) -> list[Chart]:
        """The curves of how it was computed."""
        return charts_of_speed(self.history)

    @cached_property
    def confusion(self) -> Confusion | None:
        """How often which class was said for which."""
        names = [str(name) for name in items(self.spec, "class_names") or items(self.record, "data", "class_names")]
        return read_confusion(self.answers, mapping(self.record, "result"), names)

    @property
    def decisions(self) -> list[Mapping[str, Any]]:
        """The events that are decisions of the program."""
        return [event for event in self.events if text(event, "reason")]

    @property
    def sections(self) -> list[Mapping[str, Any]]:
        """The parts of a step that a profiler measured."""
        return next((rows(event, "sections") for event in reversed(self.events) if event.get("event") == "profile"), [])

    @property
    def worst(self) -> list[Mapping[str, Any]]:
        """The samples that were most wrong, the worst first."""
        return rows(self.answers, "worst")

    def is_shown(self, place: int) -> bool:
        """Return whether one of the worst is shown as it is, and not only listed."""
        return place in self.clips or is_seen(self.worst[place])

    @cached_property
    def clips(self) -> dict[int, Drawing]:
        """Drawings of the worst, by their place among them."""
        if not any(mapping(row, "clip") for row in self.worst):
            return {}
        return _draw_clips(self.worst, mapping(self.spec, "layout"))


def read_content(folder: Path) -> Content:
    """Return what the run in `folder` has written. Raises `UserError`."""
    run = read_run(folder)
    return Content(
        folder=folder,
        record=run.record,
        events=run.events,
        answers=_read(folder / ANSWERS),
        spec=_read(folder / "best" / "spec.json"),
        is_held=is_held(folder),
    )


def _read(path: Path) -> Mapping[str, Any]:
    """Return a small file of a run that need not be there."""
    with suppress(OSError, UnreadableError):
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def _draw_clips(worst: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> dict[int, Drawing]:
    """Return the clips among the worst as moving skeletons; none without a layout that says which points belong together."""
    # Imported here: of what a report needs, these alone need NumPy.
    import numpy as np

    from ...training.data.landmarks import LandmarkLayout
    from ...training.inspection.page.clips import ClipDrawer
    from ...training.tasks.answers import unpack_clip

    clips: dict[int, np.ndarray] = {}
    try:
        layout = from_mapping(LandmarkLayout, described, "layout")
    except UserError:
        return {}
    for place, row in enumerate(worst):
        with suppress(ValueError):
            clip = unpack_clip(mapping(row, "clip"))
            if len(clip) and clip.shape[1] == layout.num_landmarks:
                clips[place] = clip
    drawer = ClipDrawer(
        layout,
        most_frames=1,
        longest=max((len(clip) for clip in clips.values()), default=1),
        ranges=np.zeros((layout.num_landmarks, 2)),
        aspect=1.0,
    )
    names = {place: text(worst[place], "where") or f"sample {text(worst[place], 'index')}" for place in clips}
    drawn = {place: drawer.animate(clip, f"{names[place]}, {len(clip)} frames") for place, clip in clips.items()}
    return {place: Drawing(svg, len(clips[place]) if "data-frames" in svg else 1) for place, svg in drawn.items()}
