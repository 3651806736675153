"""
The account of device memory: who holds what, what may still be taken, and who leaves for whom.

Plain arithmetic over what is held; loading, closing and waiting are `lab.pipelines.residency`'s.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final, Protocol
from uuid import UUID

import structlog

from lab.errors import NoRoomError
from lab.pipelines.need import MemoryNeed, Prospect, sized
from lab.schemas.chat_config import Quantization
from lab.schemas.decision import Decision
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.device_account import DeviceAccount
from lab.schemas.lease import Lease
from lab.schemas.model import Model
from lab.schemas.residency import Residency
from lab.schemas.residency_state import ResidencyState
from lab.schemas.resident import Resident

KEPT_DECISIONS: Final = 100

log = structlog.get_logger(__name__)


class Pipeline(Protocol):
    """A model in memory."""

    @property
    def model(self) -> Model:
        """The model, with what is known of it once it is loaded."""
        ...

    @property
    def n_bytes(self) -> int:
        """Bytes of its device that its weights, keys and values take now; 0 when it is closed."""
        ...

    def close(self) -> None:
        """Give its memory back; what it still answers fails."""
        ...


@dataclass(slots=True, eq=False)
class Holding:
    """
    A model's share of a device.

    Attributes
    ----------
    model_id, device : str
        Whose and where.
    form : Quantization
        In which it is loaded.
    need : MemoryNeed
        What was foretold of that form.
    pinned : bool
        True for a model that is never evicted.
    priority : int
        Among models that may leave, those of the lowest leave first.
    pipeline : Pipeline or None
        What answers; None while the weights are read.
    state : ResidencyState
        Where it is between coming and going.
    leases : set
        Who uses it now.
    idle_since : float
        When the last lease ended, on the ledger's clock.
    """

    model_id: str
    device: str
    form: Quantization
    need: MemoryNeed
    pinned: bool
    priority: int
    idle_since: float
    pipeline: Pipeline | None = None
    state: ResidencyState = ResidencyState.loading
    leases: "set[LeaseHeld]" = field(default_factory=set)

    @property
    def used(self) -> int:
        """Bytes that its weights, keys and values take now."""
        return self.pipeline.n_bytes if self.pipeline else 0

    @property
    def taken(self) -> int:
        """Bytes that nobody else may take: what it needs, or what it uses where that is more."""
        return max(self.need.total, self.used + self.need.activations)

    @property
    def may_leave(self) -> bool:
        """True where nobody uses it and nobody pinned it."""
        return self.state is ResidencyState.resident and not (self.leases or self.pinned)


@dataclass(slots=True, eq=False)
class LeaseHeld:
    """One use of a model; `holder` is the task that has it."""

    purpose: str
    owner: UUID | None
    holder: object
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How a model comes to its memory.

    Attributes
    ----------
    form : Quantization
        To load it in.
    leavers : collection of Holding
        Models that leave for it now.
    waits_for : collection of Holding
        Models in use that have to leave before; where there are any, nothing is done yet.
    reason : str
        All of it, in words and numbers.
    """

    form: Quantization
    leavers: Collection[Holding]
    waits_for: Collection[Holding]
    reason: str


class Ledger:
    """
    One account over all models of a process.

    Parameters
    ----------
    budget : int or None
        Bytes of each device that models may take; None = what is free.
    free_bytes : callable
        Takes a device's name, returns the bytes that nobody uses there.
    pinned : collection of str
        Models that are never evicted.
    clock : callable
        Returns seconds, rising.
    """

    def __init__(
        self,
        budget: int | None,
        free_bytes: Callable[[str], int],
        *,
        pinned: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._free_bytes = free_bytes
        self._clock = clock
        self.pinned = set(pinned)
        self.priorities: dict[str, int] = {}
        self.holdings: dict[str, Holding] = {}
        self.decisions: deque[Decision] = deque(maxlen=KEPT_DECISIONS)
        self.n_evictions = 0

    def room(self, device: str) -> int:
        """Return the bytes of a device that may be taken without anybody leaving."""
        holdings = list(self._on(device))
        promised = sum(holding.taken - holding.used for holding in holdings)
        room = self._free_bytes(device) - promised
        if self._budget is not None:
            room = min(room, self._budget - sum(holding.taken for holding in holdings))
        return max(room, 0)

    def capacity(self, device: str) -> int:
        """Return the bytes that one more model may take once all others left, pinned ones not."""
        return self.room(device) + sum(h.taken for h in self._on(device) if not h.pinned)

    def plan(self, prospect: Prospect) -> Plan:
        """
        Return how a model finds its memory.

        Raises
        ------
        NoRoomError
            If it does not fit, even were all models gone that are not pinned.
        """
        device = prospect.device
        room, capacity = self.room(device), self.capacity(device)
        form = prospect.choose(capacity)
        if form is None:
            raise NoRoomError(prospect.refusal(capacity, self.limits(device)))
        need = prospect.needs[form]
        idle = sorted((h for h in self._on(device) if h.may_leave), key=self._leaves_before)
        leavers = fewest(idle, need.total - room)
        reason = prospect.reason(form, capacity)
        if room + sum(h.taken for h in leavers) >= need.total:
            return Plan(form, leavers, [], reason)
        others = [h for h in self._on(device) if not (h.pinned or h.may_leave)]
        return Plan(form, [], others, reason)

    def reserve(self, prospect: Prospect, plan: Plan) -> Holding:
        """Enter a model that is about to be loaded; its leavers stay until they are gone."""
        model_id = prospect.model_id
        holding = self.holdings[model_id] = Holding(
            model_id,
            prospect.device,
            plan.form,
            prospect.needs[plan.form],
            pinned=model_id in self.pinned,
            priority=self.priorities.get(model_id, 0),
            idle_since=self._clock(),
        )
        for leaver in plan.leavers:
            leaver.state = ResidencyState.leaving
            self.n_evictions += 1
            idle_s = self._clock() - leaver.idle_since
            self.note(
                DecisionKind.evicted,
                leaver,
                f"unused for {idle_s:.1f} s, priority {leaver.priority}: its {sized(leaver.taken)} "
                f"go to `{model_id}`, which needs {sized(holding.need.total)}",
            )
        return holding

    def settle(self, holding: Holding, pipeline: Pipeline, reason: str) -> None:
        """Enter what a model that is loaded really takes."""
        holding.pipeline = pipeline
        holding.state = ResidencyState.resident
        holding.idle_since = self._clock()
        measured = f"{sized(pipeline.n_bytes)} of weights lie there"
        self.note(DecisionKind.loaded, holding, f"{reason}; {measured}")

    def strike(self, holding: Holding) -> None:
        """Take out a model that is gone."""
        if self.holdings.get(holding.model_id) is holding:
            del self.holdings[holding.model_id]

    def lease(self, holding: Holding, lease: LeaseHeld) -> None:
        """Enter a use of a model, which keeps it where it is."""
        holding.leases.add(lease)

    def release(self, holding: Holding, lease: LeaseHeld) -> None:
        """End a use."""
        holding.leases.discard(lease)
        holding.idle_since = self._clock()

    def pin(self, model_id: str, *, pinned: bool) -> None:
        """Keep a model from being evicted, or end that; holds for later loads too."""
        (self.pinned.add if pinned else self.pinned.discard)(model_id)
        if holding := self.holdings.get(model_id):
            holding.pinned = pinned

    def prioritise(self, model_id: str, priority: int) -> None:
        """Say which models leave first: those of the lowest priority; holds for later loads too."""
        self.priorities[model_id] = priority
        if holding := self.holdings.get(model_id):
            holding.priority = priority

    def note(self, kind: DecisionKind, holding: Holding, reason: str) -> None:
        """Keep a decision with its reason."""
        self.note_of(kind, holding.model_id, holding.device, reason)

    def note_of(self, kind: DecisionKind, model_id: str, device: str, reason: str) -> None:
        """Keep a decision about a model that is not there."""
        at = datetime.now(UTC)
        if kind is not DecisionKind.loaded:  # which is what was asked for
            log.info(kind.value, model=model_id, device=device, reason=reason)
        self.decisions.append(
            Decision(at=at, kind=kind, model=model_id, device=device, reason=reason)
        )

    def report(self) -> Residency:
        """Return the account as it stands."""
        return Residency(
            devices=[self._account(d) for d in sorted({h.device for h in self.holdings.values()})],
            models=[self._resident(h) for h in self.holdings.values()],
            decisions=list(reversed(self.decisions)),
        )

    def _on(self, device: str) -> Iterable[Holding]:
        return (h for h in self.holdings.values() if h.device == device)

    def _leaves_before(self, holding: Holding) -> tuple[int, float]:
        """Order those who may leave: lowest priority first, then bytes times seconds unused."""
        idle_s = self._clock() - holding.idle_since
        return holding.priority, -idle_s * holding.taken

    def limits(self, device: str) -> str:
        """Return what limits the memory of a device, in words."""
        pinned = [h for h in self._on(device) if h.pinned]
        besides = ", ".join(f"`{h.model_id}` {sized(h.taken)}" for h in pinned)
        limit = "what is free" if self._budget is None else "LAB_RESIDENCY_MEMORY_GB"
        return f"{limit} besides {besides}" if besides else limit

    def _account(self, device: str) -> DeviceAccount:
        return DeviceAccount(
            device=device,
            budget_bytes=self._budget,
            free_bytes=self._free_bytes(device),
            taken_bytes=sum(h.taken for h in self._on(device)),
            room_bytes=self.room(device),
        )

    def _resident(self, holding: Holding) -> Resident:
        return Resident(
            model=holding.model_id,
            device=holding.device,
            form=holding.form.value,
            state=holding.state,
            foretold_bytes=holding.need.total,
            used_bytes=holding.used,
            taken_bytes=holding.taken,
            leases=[
                Lease(purpose=one.purpose, owner_id=one.owner, since=one.since)
                for one in sorted(holding.leases, key=lambda one: one.since)
            ],
            pinned=holding.pinned,
            priority=holding.priority,
            idle_s=0 if holding.leases else max(self._clock() - holding.idle_since, 0),
        )


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
