"""
Models in memory, and those who wait for them: one load however many ask, leases, and switches.

A request for a model that is there gets it at once. One for a model that is not waits in a queue:
first come, first served for memory, so that nobody is overtaken for ever. While the first waits for
models in use to leave, later requests for those wait behind it; when a model has come, all who
waited for it until then get it together, so that two models that do not fit together take turns by
batches of requests. Belongs to one event loop.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import structlog

from lab.errors import ConflictError, NoRoomError, UnavailableError
from lab.pipelines.ledger import Holding, Ledger, Occupant, Plan, Use
from lab.pipelines.need import FormT, Prospect
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.lease import Lease
from lab.schemas.residency_state import ResidencyState
from lab.units import sized

log = structlog.get_logger(__name__)

OccupantT = TypeVar("OccupantT", bound=Occupant)
LoadedT = TypeVar("LoadedT", bound=Occupant, covariant=True)


class Growth:
    """
    What a model may grow by beyond what was foretold of it; asked on any thread.

    Parameters
    ----------
    residents : Residents
        The account, and who could leave for it.
    holding : Holding
        The model's.

    Attributes
    ----------
    device : str
        Its name.
    weight_bytes : int
        What its weights may take.
    token_bytes : int
        Of one token of one answer, where it keeps any.
    wait_s : float
        Seconds after which an answer that found no room is given up.
    closes : Event
        Set when the model is wanted no more: a long load may end.
    """

    def __init__(self, residents: "Residents", holding: Holding, token_bytes: int) -> None:
        self._residents = residents
        self._holding = holding
        self._loop = asyncio.get_running_loop()
        self.device = holding.device
        self.weight_bytes = holding.need.weights
        self.token_bytes = token_bytes
        self.wait_s = residents.wait_s
        self.closes = holding.closes

    def note(self, kind: DecisionKind, reason: str) -> None:
        """Note something about the model."""
        self._residents.ledger.note(kind, self._holding.name, self.device, reason)

    def could_take(self, n_bytes: int) -> bool:
        """Return whether they could come to some bytes, were all gone that may leave."""
        return self._residents.ledger.could_grow(self._holding, n_bytes)

    def __call__(self, n_bytes: int, insist: bool = True) -> bool:
        """Return whether weights, keys and values may come to some bytes; if not, make room."""
        if self._residents.ledger.grow(self._holding, n_bytes):
            return True
        if not insist:
            return False
        with suppress(RuntimeError):  # the loop is closed: so is the lab
            self._loop.call_soon_threadsafe(self._residents.make_room, self._holding, n_bytes)
        return False


@dataclass(frozen=True)
class Loader(Generic[FormT, LoadedT]):
    """
    How a model is loaded; both functions block, so they run in threads.

    Attributes
    ----------
    foretell : callable
        Returns what it will need of its device.
    load : callable
        Loads it in a form, with what it may grow by.
    lasts : bool
        Whether it stays when nobody uses it any more.
    """

    foretell: Callable[[], Prospect[FormT]]
    load: Callable[[FormT, Growth], LoadedT]
    lasts: bool = True


@dataclass(slots=True, eq=False)
class Ticket:
    """Someone who waits for a model."""

    name: str
    loader: Loader[Any, Occupant]
    use: Use
    granted: "asyncio.Future[Holding]"
    prospect: Prospect[Any] | None = None
    said: bool = False
    """Whether it was noted that it waits for models in use."""


class Blocked(NamedTuple):
    """The request that a device's memory is kept for, and what it waits for."""

    ticket: Ticket
    plan: Plan


class Residents:
    """
    The models of a process.

    Parameters
    ----------
    ledger : Ledger
        The account of what they take.
    wait_s : float
        Seconds that a request waits for models in use to leave.
    on_import : callable
        Called in a thread after a model's libraries were imported.
    """

    def __init__(self, ledger: Ledger, *, wait_s: float, on_import: Callable[[], object]) -> None:
        self.ledger = ledger
        self.wait_s = wait_s
        self._closes = False
        self._on_import = on_import
        self._queue: list[Ticket] = []
        self._foretelling: dict[str, asyncio.Task[None]] = {}
        self._moves: set[asyncio.Task[None]] = set()

    @property
    def loaded(self) -> dict[str, Occupant]:
        """What is there, by name."""
        return {
            holding.name: holding.occupant
            for holding in self.ledger.holdings.values()
            if holding.occupant and holding.state is ResidencyState.resident
        }

    @asynccontextmanager
    async def lease(
        self,
        name: str,
        loader: Loader[Any, OccupantT],
        *,
        purpose: str,
        owner: UUID | None = None,
    ) -> AsyncIterator[OccupantT]:
        """
        Use a model; it is loaded where it is not there, and stays until the block ends.

        Raises
        ------
        ModelLoadError
            If it cannot be loaded.
        NoRoomError
            If it does not fit, or models in use did not leave in time.
        """
        lease = Lease(purpose=purpose, owner_id=owner, since=datetime.now(UTC))
        use = Use(lease, asyncio.current_task())
        holding = await self._granted(name, loader, use)
        try:
            yield cast("OccupantT", holding.occupant)
        finally:
            self._release(holding, loader, use)
            self._advance()

    async def unload(self, name: str, reason: str) -> None:
        """
        Take a model out of memory, and wait until it is gone; a load under way ends.

        Who waits for it gets an error: it may be another model by this name from now on.

        Raises
        ------
        ConflictError
            While it is used.
        """
        holding = self.ledger.holdings.get(name)
        if holding is not None and holding.uses:
            raise ConflictError(
                f"`{name}` is {holding.state} and has {len(holding.uses)} leases; it can be "
                "unloaded when nobody uses it. Try again later."
            )
        self._foretelling.pop(name, None)
        gone = UnavailableError(f"`{name}` was unloaded before it could be used: {reason}.")
        self._fail(self._who_wait_for(name), gone)
        if holding is not None:
            self._unload(holding, reason)
        self._advance()
        while holding is not None and self.ledger.holdings.get(name) is holding:
            await asyncio.wait(self._moves, return_when=asyncio.FIRST_COMPLETED)

    def make_room(self, holding: Holding, n_bytes: int) -> None:
        """Have unused models give back memory, or leave, for one in use that would grow."""
        device = holding.device
        if self._closes or self.ledger.grow(holding, n_bytes):
            return
        if resting := self.ledger.resting(device):
            self._moving(self._rest(resting))
            return
        missing = n_bytes + holding.need.activations - holding.taken - self.ledger.room(device)
        missing -= self.ledger.leaving_bytes(device)
        leavers = self.ledger.leavers(device, missing)
        if leavers and sum(leaver.taken for leaver in leavers) >= missing:
            self.ledger.dismiss(
                leavers, f"`{holding.name}`, whose answers grow to {sized(n_bytes)}"
            )
            self._moving(self._go(leavers))

    async def aclose(self) -> None:
        """Close all models, and end the loads under way; who waits gets an error."""
        self._closes = True
        closing = UnavailableError("The lab is closing; try again when it is up.")
        self._fail(list(self._queue), closing)
        for holding in self.ledger.holdings.values():
            holding.closes.set()
        while self._moves:
            await asyncio.wait(self._moves)
        holdings = list(self.ledger.holdings.values())
        for holding in holdings:
            holding.state = ResidencyState.leaving
        await self._moving(self._go(holdings))

    async def _granted(self, name: str, loader: Loader[Any, Occupant], use: Use) -> Holding:
        """Wait for a model and return it with the lease entered."""
        if self._closes:
            raise UnavailableError("The lab is closing; try again when it is up.")
        granted = asyncio.get_running_loop().create_future()
        known = (one.prospect for one in self._who_wait_for(name))
        ticket = Ticket(name, loader, use, granted, next(known, None))
        self._queue.append(ticket)
        self._advance()
        try:
            return await asyncio.shield(ticket.granted)
        except asyncio.CancelledError:
            self._withdraw(ticket)
            raise

    def _withdraw(self, ticket: Ticket) -> None:
        """Take back a request, or the lease that it was just given."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            ticket.granted.cancel()
        elif not ticket.granted.cancelled() and ticket.granted.exception() is None:
            self._release(ticket.granted.result(), ticket.loader, ticket.use)
        self._advance()

    def _release(self, holding: Holding, loader: Loader[Any, Occupant], use: Use) -> None:
        self.ledger.release(holding, use)
        if not loader.lasts:
            self._end(holding)

    def _advance(self) -> None:
        """Do what can be done now for those who wait, and tell the next of them why it cannot."""
        for one in self._serve().values():
            if not one.ticket.granted.done():  # refused while another was told
                self._wait(one)

    def _serve(self) -> "dict[str, Blocked]":
        """Serve the queue in the order in which it came; return who is next on each device."""
        blocked: dict[str, Blocked] = {}
        for ticket in list(self._queue):
            if ticket.granted.done():  # failed with an earlier one
                continue
            holding = self.ledger.holdings.get(ticket.name)
            if holding is not None:
                self._take(ticket, holding, blocked)
            elif ticket.prospect is None:
                self._foretell(ticket)
            elif plan := self._come_if_room(ticket, ticket.prospect, blocked):
                for device in plan.devices:
                    blocked.setdefault(device, Blocked(ticket, plan))
        return blocked

    def _take(self, ticket: Ticket, holding: Holding, blocked: Collection[str]) -> None:
        """Give a model that is there, unless somebody waits for it to leave."""
        if holding.state is ResidencyState.resident and (
            self.ledger.is_pinned(holding)
            or not set(holding.devices).intersection(blocked)
            or self._holds_any(ticket)
        ):
            self._grant(ticket, holding)

    def _holds_any(self, ticket: Ticket) -> bool:
        """Return whether who asks has a model that may leave: others may wait for them."""
        return any(
            use.holder is ticket.use.holder
            for holding in self.ledger.holdings.values()
            if not self.ledger.is_pinned(holding)
            for use in holding.uses
        )

    def _come_if_room(
        self, ticket: Ticket, prospect: Prospect[Any], blocked: Collection[str]
    ) -> Plan | None:
        """Load a model if there is room; return the plan where it waits for models in use."""
        besides = () if self._holds_any(ticket) else blocked
        if set(prospect.devices) <= set(besides):
            return None
        with self.ledger.lock:
            try:
                plan = self.ledger.plan(prospect, besides)
            except NoRoomError as error:
                self._refuse(self._who_wait_for(ticket.name), prospect.devices[0], error)
                return None
            except Exception as error:  # a device that cannot be asked: nobody may wait for ever
                self._fail(self._who_wait_for(ticket.name), error)
                return None
            if plan is None:
                return None
            if plan.waits_for:
                return plan
            if plan.resting:
                self._moving(self._rest(plan.resting))
                return None
            holding = self.ledger.reserve(prospect, plan)
        self._moving(self._come(ticket, holding, plan))
        return None

    def _wait(self, blocked: Blocked) -> None:
        """Note why a request waits, and until when; refuse it where it would wait for ever."""
        ticket, plan = blocked
        for one in plan.waits_for:
            if one.state is ResidencyState.loading and not self._who_wait_for(one.name):
                self.ledger.dismiss([one], f"`{ticket.name}`, and nobody waits for its load")
                one.closes.set()
        names = ", ".join(
            f"`{one.name}` ({len(one.uses)} in use)" if one.uses else f"`{one.name}` ({one.state})"
            for one in plan.waits_for
        )
        if self._is_stuck(plan):
            vain = NoRoomError(
                f"`{ticket.name}` does not fit beside {names}, and who uses them waits for "
                "another model too. Use one after the other, or raise LAB_RESIDENCY_MEMORY_GB."
            )
            self._refuse([ticket], plan.device, vain)
            self._advance()
        elif not ticket.said:
            ticket.said = True
            self.ledger.note(
                DecisionKind.waiting,
                ticket.name,
                plan.device,
                f"until {names} can leave; {plan.reason}",
            )
            late = NoRoomError(
                f"`{ticket.name}` found no room within {self.wait_s:g} s beside {names}. Try "
                "again later, or raise LAB_RESIDENCY_MEMORY_GB or LAB_RESIDENCY_WAIT_S."
            )
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self.wait_s, self._give_up, ticket, plan.device, late)
            ticket.granted.add_done_callback(lambda _: timer.cancel())

    def _is_stuck(self, plan: Plan) -> bool:
        """Return whether all who use these models wait for memory themselves."""
        waiting = {
            one.use.holder
            for one in self._queue
            if one.prospect is not None and one.name not in self.ledger.holdings
        }
        return all(
            one.uses and waiting.issuperset(use.holder for use in one.uses)
            for one in plan.waits_for
        )

    def _give_up(self, ticket: Ticket, device: str, late: NoRoomError) -> None:
        """Refuse a request that waited long enough, unless its model is on the way."""
        if ticket.name not in self.ledger.holdings:
            self._refuse([ticket], device, late)
            self._advance()

    def _refuse(self, tickets: Collection[Ticket], device: str, error: NoRoomError) -> None:
        for name in {ticket.name for ticket in tickets}:
            self.ledger.note(DecisionKind.refused, name, device, str(error))
        self._fail(tickets, error)

    def _grant(self, ticket: Ticket, holding: Holding) -> None:
        self._queue.remove(ticket)
        self.ledger.lease(holding, ticket.use)
        ticket.granted.set_result(holding)

    def _fail(self, tickets: Iterable[Ticket], error: Exception) -> None:
        for ticket in tickets:
            self._queue.remove(ticket)
            ticket.granted.set_exception(error)

    def _who_wait_for(self, name: str) -> list[Ticket]:
        return [ticket for ticket in self._queue if ticket.name == name]

    def _foretell(self, ticket: Ticket) -> None:
        """Find out what a model needs, once for all who wait; its files may be others next time."""
        name = ticket.name
        if name not in self._foretelling:
            self._foretelling[name] = self._moving(self._foretold(ticket))

    async def _foretold(self, ticket: Ticket) -> None:
        name = ticket.name
        outcome: Prospect[Any] | Exception
        try:
            outcome = await asyncio.to_thread(self._foreseen, ticket)
        except Exception as error:
            outcome = error
        if self._foretelling.get(name) is not asyncio.current_task():
            return  # what had the name was unloaded
        del self._foretelling[name]
        if isinstance(outcome, Exception):
            self._fail(self._who_wait_for(name), outcome)
        else:
            for waiting in self._who_wait_for(name):
                waiting.prospect = outcome
        self._advance()

    def _foreseen(self, ticket: Ticket) -> Prospect[Any]:
        """Return what a model needs; runs in a thread, and imports what such models need."""
        prospect = ticket.loader.foretell()
        self._on_import()
        return prospect

    async def _come(self, ticket: Ticket, holding: Holding, plan: Plan) -> None:
        """Load a model after its leavers went, and hand it to all who wait for it by then."""
        await self._go(plan.leavers)
        if holding.closes.is_set():
            self.ledger.strike(holding)
            self._advance()
            return
        prospect = ticket.prospect
        growth = Growth(self, holding, prospect.token_bytes if prospect else 0)
        try:
            occupant = await asyncio.to_thread(ticket.loader.load, plan.form, growth)
        except Exception as error:
            self.ledger.strike(holding)
            if not holding.closes.is_set():  # else it ended as it was told to
                reason = str(error) or repr(error)
                self.ledger.note(DecisionKind.failed, holding.name, holding.device, reason)
                self._fail(self._who_wait_for(holding.name), error)
        else:
            await self._arrived(ticket, holding, occupant, plan)
        self._advance()

    async def _arrived(
        self, ticket: Ticket, holding: Holding, occupant: Occupant, plan: Plan
    ) -> None:
        """Hand a model to all who wait for it, unless it is wanted no more."""
        if holding.closes.is_set():
            holding.occupant = occupant
            await self._go([holding])
            return
        self.ledger.settle(holding, occupant, plan.reason)
        for waiting in self._who_wait_for(holding.name):
            self._grant(waiting, holding)
        if not ticket.loader.lasts:
            self._end(holding)

    def _end(self, holding: Holding) -> None:
        """Have what does not last leave as soon as nobody uses it."""
        if holding.is_idle:
            self._unload(holding, "its lease ended")

    def _unload(self, holding: Holding, reason: str) -> None:
        """Have an unused model leave, or the load of one end; it may be on its way already."""
        if holding.state is ResidencyState.leaving:
            return
        self.ledger.note(DecisionKind.unloaded, holding.name, holding.device, reason)
        holding.closes.set()
        if holding.is_idle:
            self._moving(self._go([holding]))
        holding.state = ResidencyState.leaving

    async def _rest(self, holdings: Collection[Holding]) -> None:
        """Have unused models give back what they grew by."""
        for holding in holdings:
            holding.grown = 0  # asked for again by whoever uses it meanwhile
        occupants = [holding.occupant for holding in holdings if holding.occupant]
        await asyncio.gather(*(asyncio.to_thread(occupant.rest) for occupant in occupants))
        self._advance()

    async def _go(self, holdings: Iterable[Holding]) -> None:
        """Close models and strike them out."""
        gone = [holding for holding in holdings if holding.occupant]
        closings = (asyncio.to_thread(h.occupant.close) for h in gone if h.occupant)
        for outcome in await asyncio.gather(*closings, return_exceptions=True):
            if isinstance(outcome, Exception):  # its memory may be lost; nobody waits for it
                log.error("not closed", reason=repr(outcome))
        for holding in gone:
            holding.occupant = None
        if not gone:
            return
        await asyncio.to_thread(gc.collect)  # some networks refer to themselves
        for holding in gone:
            self.ledger.strike(holding)
        self._advance()

    def _moving(self, move: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run a load or an unload on its own: who asked for it may give up meanwhile."""
        task = asyncio.create_task(move)
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        return task
