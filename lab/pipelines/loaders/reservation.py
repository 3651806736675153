"""Memory of devices that people lease for programs of their own."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from lab.errors import InputError, NoRoomError
from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader, Residents
from lab.schemas.chat_config import Quantization
from lab.schemas.lease_request import LeaseRequest
from lab.schemas.memory_lease import MemoryLease
from lab.units import sized

if TYPE_CHECKING:
    from lab.pipelines.reservation import Reservation


class Reservations:
    """
    Leases of memory for programs, which together have a share of each device.

    Parameters
    ----------
    residents : Residents
        Who else is in memory.
    device : str
        Where they lie when nobody says where.
    share : float
        What part of a device they may hold together.
    """

    def __init__(self, residents: Residents, device: str, share: float) -> None:
        self._residents = residents
        self._device = device
        self._share = share
        self._reserved: dict[str, int] = {}  # bytes that programs have or wait for, by name

    async def reserve(
        self, request: LeaseRequest, owner: UUID
    ) -> AsyncGenerator[MemoryLease, None]:
        """
        Yield memory that somebody has for their own use, until the generator is closed.

        Raises
        ------
        InputError
            If there is no such device.
        NoRoomError
            If it does not fit, or models in use did not leave in time.
        """
        name = f"{request.purpose}-{uuid4().hex[:8]}"
        n_bytes = int(request.gb * 1e9)
        loader = Loader(
            partial(self._foretell, name, request.device or self._device, n_bytes),
            partial(_reserved, n_bytes, request.pid),
            lasts=False,
        )
        self._reserved[name] = n_bytes
        try:
            async with self._residents.lease(name, loader, purpose=request.purpose, owner=owner):
                holding = self._residents.ledger.holdings[name]
                yield MemoryLease(name=name, device=holding.device, n_bytes=holding.need.total)
        finally:
            del self._reserved[name]

    def _foretell(self, name: str, device: str, n_bytes: int) -> Prospect[Quantization]:
        from lab.pipelines.reservation import foretell_reservation  # noqa: PLC0415 - imports torch

        ahead = foretell_reservation(name, device, n_bytes)
        self._check_share(ahead)
        return ahead

    def _check_share(self, ahead: Prospect[Quantization]) -> None:
        """Raise `NoRoomError` where programs together would hold more than their share."""
        ledger = self._residents.ledger
        wanted = sum(self._reserved.values())
        device = max(ahead.devices, key=ledger.capacity)
        held = sum(
            holding.need.total
            for holding in ledger.holdings.values()
            if holding.name in self._reserved
        )
        most = self._share * (ledger.capacity(device) + held)
        rule = (
            f"Programs may hold {sized(most)} of {device} together "
            f"(LAB_RESIDENCY_LEASE_SHARE={self._share:g})"
        )
        if (own := ahead.needs[Quantization.none].total) > most:
            raise InputError(f"{rule}, and this lease is of {sized(own)}. Ask for less.")
        if wanted > most:
            raise NoRoomError(
                f"{rule}, and with this lease it would be {sized(wanted)}. Ask for less, or have "
                "others end their leases."
            )


def _reserved(n_bytes: int, pid: int | None, form: Quantization, growth: Growth) -> "Reservation":
    from lab.pipelines.reservation import Reservation  # noqa: PLC0415 - imports torch

    return Reservation(growth.device, n_bytes, pid)
