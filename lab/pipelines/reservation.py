"""Memory of a device that a program outside the lab's process uses, such as a notebook's kernel."""

from lab.errors import InputError
from lab.pipelines.devices import candidates, free_bytes, process_bytes, torch_device
from lab.pipelines.need import MemoryNeed, Prospect
from lab.schemas.chat_config import Quantization


class Reservation:
    """
    A share of a device that is somebody else's to fill.

    Parameters
    ----------
    device : str
        Its name.
    n_bytes : int
        How much.
    pid : int or None
        The process that fills it.
    """

    def __init__(self, device: str, n_bytes: int, pid: int | None) -> None:
        self._device = torch_device(device)
        self._most = n_bytes
        self._pid = pid
        self._before = process_bytes(self._device, pid) if pid is not None else 0

    @property
    def n_bytes(self) -> int:
        """What the process has come to take, up to its share; 0 where that cannot be seen."""
        if self._pid is None:
            return 0
        return min(max(process_bytes(self._device, self._pid) - self._before, 0), self._most)

    @property
    def weight_bytes(self) -> None:
        """Nobody here knows what a program keeps there."""
        return None

    def rest(self) -> None:
        """Give nothing back: it is in use as long as it is there."""

    def close(self) -> None:
        """Count no longer."""
        self._most = 0


def foretell_reservation(name: str, device: str, n_bytes: int) -> Prospect[Quantization]:
    """
    Return what is asked for.

    Raises
    ------
    InputError
        If there is no such device.
    """
    try:
        found = candidates(device)
        for one in found:
            free_bytes(one)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"`{device}` is no device of this lab; give `cpu`, one such as `cuda:0`, or none for "
            "the one that chat models run on."
        ) from error
    need = MemoryNeed(n_bytes, 0, 0)
    advice = "Ask for less, or have others end their leases."
    places = [str(one) for one in found]
    return Prospect(name, places, "for its own use", advice, {Quantization.none: need})
