"""Detect the hardware of this machine by asking every probe."""

from __future__ import annotations

from ...training.common.errors import UserError
from ...training.common.small_files import UnreadableError, read_small_text, reason_of
from .probes import cpu, environment, memory, network, scheduler, torch_build
from .probes.accelerators import amd, apple, ascend, gaudi, intel, nvidia
from .probes.sources import ProbeError, Sources
from .record import SCHEMA_VERSION, Accelerator, Driver, Fault, Hardware


def detect(sources: Sources | None = None) -> Hardware:
    """Return the hardware of this machine, or of the machine that `sources` describes.

    A vendor's probe that cannot answer leaves a `Fault` in the record.
    """
    sources = sources or Sources()
    faults: list[Fault] = []
    try:
        nvidia_report = nvidia.detect(sources)
    except ProbeError as error:
        nvidia_report = nvidia.NOTHING
        faults.append(Fault(probe="nvidia", message=str(error)))
    faults.extend(Fault(probe="nvidia", message=lost) for lost in nvidia_report.lost)
    amd_report = amd.detect(sources)
    intel_cards, intel_driver = intel.detect(sources)
    npus, npu_fault = ascend.detect(sources)
    if npu_fault:
        faults.append(Fault(probe="ascend", message=npu_fault))
    accelerators: tuple[Accelerator, ...] = (
        *nvidia_report.accelerators,
        *amd_report.accelerators,
        *intel_cards,
        *apple.detect(sources),
        *npus,
        *gaudi.detect(sources),
    )
    drivers: tuple[Driver, ...] = tuple(filter(None, (nvidia_report.driver, amd_report.driver, intel_driver)))
    return Hardware(
        schema_version=SCHEMA_VERSION,
        hostname=sources.hostname,
        platform=sources.platform,
        cpu=cpu.detect(sources),
        memory=memory.detect(sources),
        accelerators=accelerators,
        links=(*nvidia_report.links, *amd_report.links),
        drivers=drivers,
        torch=torch_build.detect(sources, accelerators, drivers),
        environment=environment.detect(sources, accelerators),
        scheduler=scheduler.detect(sources),
        network=network.detect(sources),
        faults=tuple(faults),
    )


def load_hardware(path: str | None) -> Hardware:
    """Return the record in the file of `--hardware`, or this machine's where none is given. Raises `UserError`."""
    if path is None:
        return detect()
    from .written import read_hardware

    how = "`slipway detect --json > FILE` writes one on its machine"
    try:
        return read_hardware(read_small_text(path), path)
    except UserError as error:
        raise UserError(str(error) if "slipway detect" in str(error) else f"{error}; {how}") from None
    except (OSError, UnreadableError) as error:
        raise UserError(f"--hardware {path}: {reason_of(error)}; {how}") from None
