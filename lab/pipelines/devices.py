"""Where models run, and how much memory is free there."""

import psutil
import torch


def torch_device(name: str) -> torch.device:
    """Return the device of that name; `auto` = the accelerator, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


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
