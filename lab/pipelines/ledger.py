"""
The account of device memory: who holds what, what may still be taken, and who leaves for whom.

Plain arithmetic over what is held; loading, closing and waiting are `lab.pipelines.residency`'s.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final, Protocol

import structlog

from lab.errors import ConflictError, NoRoomError
from lab.pipelines.need import MemoryNeed, Prospect
from lab.schemas.decision import Decision
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.device_account import DeviceAccount
from lab.schemas.lease import Lease
from lab.schemas.residency import Residency
from lab.schemas.residency_state import ResidencyState
from lab.schemas.resident import Resident
from lab.units import sized

KEPT_DECISIONS: Final = 100

log = structlog.get_logger(__name__)


class Occupant(Protocol):
    """What lies in a device's memory."""

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes now, without what is alive for the length of a step."""
        ...

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of those that are weights; None where that cannot be told."""
        ...

    def rest(self) -> None:
        """Give back what it took while it was used and does not need now."""
        ...

    def close(self) -> None:
        """Give all its memory back; what it still answers fails."""
        ...


@dataclass(slots=True, eq=False)
class Use:
    """One use of what lies there; `holder` is the task that has it."""

    lease: Lease
    holder: object


@dataclass(slots=True, eq=False)
class Holding:
    """
    A share of a device, or the same share of several.

    Attributes
    ----------
    name : str
        Whose.
    devices : tuple of str
        Where; most are on one.
    form : StrEnum
        In which it is loaded.
    need : MemoryNeed
        What was foretold of that form.
    idle_since : float
        When the last use ended, on the ledger's clock.
    grown : int
        Bytes that were promised to its keys and values beyond what was foretold.
    occupant : Occupant or None
        What lies there; None while it is loaded.
    state : ResidencyState
        Where it is between coming and going.
    uses : set
        Who uses it now.
    closes : Event
        Set when it is wanted no more; long loads look at it.
    """

    name: str
    devices: tuple[str, ...]
    form: StrEnum
    need: MemoryNeed
    idle_since: float
    grown: int = 0
    occupant: Occupant | None = None
    state: ResidencyState = ResidencyState.loading
    uses: "set[Use]" = field(default_factory=set)
    closes: threading.Event = field(default_factory=threading.Event)

    @property
    def device(self) -> str:
        """Its first device."""
        return self.devices[0]

    @property
    def used(self) -> int:
        """Bytes that it takes of each device now."""
        return self.occupant.n_bytes if self.occupant else 0

    @property
    def taken(self) -> int:
        """Bytes that nobody else may take: what it needs, or what it uses where that is more."""
        return max(self.need.total + self.grown, self.used + self.need.activations)

    @property
    def is_idle(self) -> bool:
        """True where it is there and nobody uses it."""
        return self.state is ResidencyState.resident and not self.uses


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How a model comes to its memory.

    Attributes
    ----------
    devices : tuple of str
        Where to.
    form : StrEnum
        To load it in.
    need : MemoryNeed
        What it takes then.
    resting : collection of Holding
        Unused models that give back what they grew by; where there are any, nothing else is done
        before.
    leavers : collection of Holding
        Models that leave for it now.
    waits_for : collection of Holding
        Models in use that have to leave before; where there are any, nothing is done yet.
    reason : str
        All of it, in words and numbers.
    """

    devices: tuple[str, ...]
    form: StrEnum
    need: MemoryNeed
    reason: str
    resting: Collection[Holding] = ()
    leavers: Collection[Holding] = ()
    waits_for: Collection[Holding] = ()

    @property
    def device(self) -> str:
        """The first of its devices."""
        return self.devices[0]


class Ledger:
    """
    One account over all models of a process.

    Parameters
    ----------
    budget : int or None
        Bytes of each device that models may take; None = what is free.
    free_bytes : callable
        Takes a device's name, returns the bytes that nobody uses there.
    always : collection of str
        Models that stay whatever anybody asks for.
    pinned : collection of str
        Models that are never evicted, until that is ended.
    clock : callable
        Returns seconds, rising.

    Attributes
    ----------
    lock : RLock
        Held while room is looked at and taken; models grow on threads of their own.
    """

    def __init__(
        self,
        budget: int | None,
        free_bytes: Callable[[str], int],
        *,
        always: Collection[str] = (),
        pinned: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._free_bytes = free_bytes
        self._clock = clock
        self._always = frozenset(always)
        self._pinned = set(pinned)
        self._priorities: dict[str, int] = {}
        self.lock = threading.RLock()
        self.holdings: dict[str, Holding] = {}
        self.decisions: deque[Decision] = deque(maxlen=KEPT_DECISIONS)
        self.n_evictions = 0

    def room(self, device: str) -> int:
        """
        Return the bytes of a device that may be taken without anybody leaving.

        It is negative while more is taken than may be.
        """
        holdings = list(self._on(device))
        promised = sum(holding.taken - holding.used for holding in holdings)
        room = self._free_bytes(device) - promised
        if self._budget is not None:
            room = min(room, self._budget - sum(holding.taken for holding in holdings))
        return room

    def capacity(self, device: str) -> int:
        """Return the bytes that one more model may take once all others left, pinned ones not."""
        leaving = sum(h.taken for h in self._on(device) if not self.is_pinned(h))
        return max(self.room(device) + leaving, 0)

    def is_pinned(self, holding: Holding) -> bool:
        """Return whether it is never evicted."""
        return holding.name in self._always or holding.name in self._pinned

    def plan(self, prospect: Prospect[Any], besides: Collection[str] = ()) -> Plan | None:
        """
        Return how a model finds its memory: on which device, in which form, and after whom.

        Of its devices the one is taken that gives it the best form; then the one where least has
        to be done for it; then the one with most room. `besides` names devices that are kept for
        others; None where it fits on such ones only.

        Raises
        ------
        NoRoomError
            If it fits nowhere, even were all models gone that are not pinned.
        """
        limits = {
            device: min(map(self.capacity, prospect.span(device))) for device in prospect.devices
        }
        forms = {device: prospect.choose(limit) for device, limit in limits.items()}
        plans = [
            self._plan_on(prospect.span(device), prospect, form, limits[device])
            for device, form in forms.items()
            if form is not None and not set(prospect.span(device)).intersection(besides)
        ]
        if plans:
            order = list(prospect.needs)
            return min(plans, key=lambda plan: (order.index(plan.form), *self._effort(plan)))
        if any(forms.values()):
            return None
        largest = max(limits, key=lambda device: limits[device])
        raise NoRoomError(prospect.refusal(largest, limits[largest], self.limits(largest)))

    def _plan_on(
        self, devices: tuple[str, ...], prospect: Prospect[Any], form: StrEnum, limit: int
    ) -> Plan:
        need = prospect.need(form, limit)
        reason = prospect.reason(form, ", ".join(devices), limit)
        missing = {device: need.total - self.room(device) for device in devices}
        short = [device for device in devices if missing[device] > 0]
        if resting := _once(map(self.resting, short)):
            return Plan(devices, form, need, reason, resting=resting)
        leavers = {device: self.leavers(device, missing[device]) for device in short}
        waits = [d for d in short if sum(h.taken for h in leavers[d]) < missing[d]]
        if not waits:
            return Plan(devices, form, need, reason, leavers=_once(leavers.values()))
        others = _once(map(self._in_use, waits))
        return Plan(devices, form, need, reason, waits_for=others)

    def _effort(self, plan: Plan) -> tuple[bool, int, bool, int]:
        """Order plans: those that wait last, those that move least and have most room first."""
        moved = sum(holding.taken for holding in plan.leavers)
        return bool(plan.waits_for), moved, bool(plan.resting), -min(map(self.room, plan.devices))

    def resting(self, device: str) -> list[Holding]:
        """Return the unused models of a device that can give back what they grew by."""
        return [h for h in self._on(device) if h.is_idle and h.grown]

    def leavers(self, device: str, missing: int) -> list[Holding]:
        """Return who may leave a device for some bytes; all who may, where that is too little."""
        idle = (h for h in self._on(device) if h.is_idle and not self.is_pinned(h))
        return fewest(sorted(idle, key=self._leaves_before), missing)

    def reserve(self, prospect: Prospect[Any], plan: Plan) -> Holding:
        """Enter a model that is about to be loaded; its leavers stay until they are gone."""
        holding = self.holdings[prospect.name] = Holding(
            prospect.name, plan.devices, plan.form, plan.need, idle_since=self._clock()
        )
        self.dismiss(plan.leavers, f"`{prospect.name}`, which needs {sized(plan.need.total)}")
        return holding

    def dismiss(self, leavers: Collection[Holding], for_whom: str) -> None:
        """Enter that models leave; their memory stays taken until they are gone."""
        for leaver in leavers:
            leaver.state = ResidencyState.leaving
            self.n_evictions += 1
            idle_s = self._clock() - leaver.idle_since
            self.note(
                DecisionKind.evicted,
                leaver.name,
                leaver.device,
                f"unused for {idle_s:.1f} s, priority {self._priority(leaver)}: its "
                f"{sized(leaver.taken)} go to {for_whom}",
            )

    def settle(self, holding: Holding, occupant: Occupant, reason: str) -> None:
        """Enter what a model that is loaded really takes."""
        holding.occupant = occupant
        holding.state = ResidencyState.resident
        holding.idle_since = self._clock()
        measured = f"{sized(occupant.n_bytes)} lie there"
        self.note(DecisionKind.loaded, holding.name, holding.device, f"{reason}; {measured}")

    def grow(self, holding: Holding, n_bytes: int) -> bool:
        """
        Promise a model that it may come to some bytes, if there is room; on any thread.

        Parameters
        ----------
        n_bytes : int
            Of its weights, keys and values.
        """
        with self.lock:
            missing = n_bytes + holding.need.activations - holding.taken
            if missing > 0 and missing > self.room(holding.device):
                return False
            holding.grown = max(n_bytes - holding.need.weights - holding.need.cache, 0)
            return True

    def could_grow(self, holding: Holding, n_bytes: int) -> bool:
        """Return whether a model could come to some bytes, were all gone that may leave."""
        own = holding.taken if self.is_pinned(holding) else 0
        return n_bytes + holding.need.activations <= self.capacity(holding.device) + own

    def leaving_bytes(self, device: str) -> int:
        """Return the bytes that will be free when those who leave are gone."""
        leaving = (h for h in self._on(device) if h.state is ResidencyState.leaving)
        return sum(holding.taken for holding in leaving)

    def strike(self, holding: Holding) -> None:
        """Take out a model that is gone."""
        if self.holdings.get(holding.name) is holding:
            del self.holdings[holding.name]

    def lease(self, holding: Holding, use: Use) -> None:
        """Enter a use of a model, which keeps it where it is."""
        holding.uses.add(use)

    def release(self, holding: Holding, use: Use) -> None:
        """End a use."""
        holding.uses.discard(use)
        holding.idle_since = self._clock()

    def pin(self, name: str, *, pinned: bool) -> None:
        """
        Keep a model from being evicted, or end that; holds for later loads too.

        Raises
        ------
        ConflictError
            If it always stays.
        """
        if not pinned and name in self._always:
            raise ConflictError(
                f"`{name}` always stays in memory, since every turn needs it; it cannot be "
                "unpinned."
            )
        (self._pinned.add if pinned else self._pinned.discard)(name)

    def prioritise(self, name: str, priority: int) -> None:
        """Say which models leave first: those of the lowest priority; holds for later loads too."""
        self._priorities[name] = priority

    def note(self, kind: DecisionKind, name: str, device: str, reason: str) -> None:
        """Keep a decision with its reason."""
        at = datetime.now(UTC)
        if kind is not DecisionKind.loaded:  # which is what was asked for
            log.info(kind.value, model=name, device=device, reason=reason)
        self.decisions.append(Decision(at=at, kind=kind, model=name, device=device, reason=reason))

    def report(self) -> Residency:
        """Return the account as it stands."""
        devices = sorted({d for holding in self.holdings.values() for d in holding.devices})
        return Residency(
            devices=[self._account(device) for device in devices],
            models=[self._resident(h) for h in self.holdings.values()],
            decisions=list(reversed(self.decisions)),
        )

    def limits(self, device: str) -> str:
        """Return what limits the memory of a device, in words."""
        pinned = [h for h in self._on(device) if self.is_pinned(h)]
        besides = ", ".join(f"`{h.name}` {sized(h.taken)}" for h in pinned)
        limit = "what is free" if self._budget is None else "LAB_RESIDENCY_MEMORY_GB"
        return f"{limit} besides {besides}" if besides else limit

    def _on(self, device: str) -> Iterable[Holding]:
        return (h for h in list(self.holdings.values()) if device in h.devices)

    def _in_use(self, device: str) -> list[Holding]:
        """Return the models of a device that may not leave now, but later."""
        return [h for h in self._on(device) if not (self.is_pinned(h) or h.is_idle)]

    def _priority(self, holding: Holding) -> int:
        return self._priorities.get(holding.name, 0)

    def _leaves_before(self, holding: Holding) -> tuple[int, float]:
        """Order those who may leave: lowest priority first, then bytes times seconds unused."""
        idle_s = self._clock() - holding.idle_since
        return self._priority(holding), -idle_s * holding.taken

    def _account(self, device: str) -> DeviceAccount:
        return DeviceAccount(
            device=device,
            budget_bytes=self._budget,
            free_bytes=self._free_bytes(device),
            taken_bytes=sum(h.taken for h in self._on(device)),
            room_bytes=max(self.room(device), 0),
        )

    def _resident(self, holding: Holding) -> Resident:
        leases = sorted((use.lease for use in holding.uses), key=lambda lease: lease.since)
        return Resident(
            model=holding.name,
            device=holding.device,
            beside=list(holding.devices[1:]),
            form=holding.form.value,
            state=holding.state,
            foretold_bytes=holding.need.total,
            used_bytes=holding.used,
            weight_bytes=holding.occupant.weight_bytes if holding.occupant else 0,
            taken_bytes=holding.taken,
            leases=leases,
            pinned=self.is_pinned(holding),
            priority=self._priority(holding),
            idle_s=0 if leases else max(self._clock() - holding.idle_since, 0),
        )


def _once(groups: Iterable[Iterable[Holding]]) -> list[Holding]:
    """Return the holdings of all groups, each once."""
    return list(dict.fromkeys(holding for group in groups for holding in group))


def fewest(idle: list[Holding], missing: int) -> list[Holding]:
    """
    Return who has to leave for some bytes: the first of `idle` that are enough, none for nothing.

    Of those, whoever is not needed because a later one is large enough stays.
    """
    if missing <= 0:
        return []
    sums = accumulate(h.taken for h in idle)
    n_leavers = next((n for n, freed in enumerate(sums, start=1) if freed >= missing), len(idle))
    leavers = idle[:n_leavers]
    spare = sum(h.taken for h in leavers) - missing
    for holding in reversed(leavers[:-1]):
        if holding.taken <= spare:
            spare -= holding.taken
            leavers.remove(holding)
    return leavers
