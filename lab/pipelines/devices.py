"""Where models run, and how much memory is free there."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pynvml
import torch


def torch_device(name: str) -> torch.device:
    """Return the device of that name; `auto` = the accelerator, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def candidates(name: str) -> list[torch.device]:
    """
    Return the devices that a name stands for, of which one is chosen.

    `auto` is every accelerator, else the CPU; a type such as `cuda` is every device of it.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = torch_device(name)
    if found.type == "cpu":
        return [torch.device("cpu")]  # whichever number it was given
    here = torch.accelerator.current_accelerator(check_available=True)
    n_devices = torch.accelerator.device_count() if here and here.type == found.type else 0
    if (found.index or 0) >= n_devices:
        raise ValueError(f"there is no device `{name}` here")
    if found.index is not None:
        return [found]
    return [torch.device(found.type, i) for i in range(n_devices)]


def devices_after(name: str, n_more: int) -> tuple[str, ...]:
    """
    Return the devices that follow one; the CPU has none after it, and stands for all.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    first = torch.device(name)
    if first.type == "cpu":
        return ()
    n_devices = torch.accelerator.device_count()
    begin = (first.index or 0) + 1
    if begin + n_more > n_devices:
        raise ValueError(
            f"it takes {n_more + 1} devices from `{name}` on, and there are {n_devices}"
        )
    return tuple(f"{first.type}:{i}" for i in range(begin, begin + n_more))


def free_bytes(device: torch.device) -> int:
    """Return the memory of a device that nobody uses, what torch holds in reserve included."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    free, _ = torch.accelerator.get_memory_info(device)
    held = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return free + held


def memory_of(device: torch.device) -> int:
    """Return all the memory of a device."""
    if device.type == "cpu":
        return psutil.virtual_memory().total
    return torch.accelerator.get_memory_info(device)[1]


def process_bytes(device: torch.device, pid: int) -> int:
    """Return the memory of a device that a process of this machine takes; 0 where none is seen."""
    if device.type == "cpu":
        try:
            return psutil.Process(pid).memory_info().rss
        except psutil.Error:
            return 0
    return _cuda_process_bytes(device.index or 0, pid)


def _cuda_process_bytes(index: int, pid: int) -> int:
    with _nvml():
        uuid = torch.cuda.get_device_properties(index).uuid  # NVML counts hidden devices too
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return sum(one.usedGpuMemory or 0 for one in running if one.pid == pid)


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
