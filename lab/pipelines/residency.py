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
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast
from uuid import UUID

from lab.errors import ConflictError, NoRoomError, UnavailableError
from lab.pipelines.ledger import Holding, LeaseHeld, Ledger, Pipeline, Plan
from lab.pipelines.need import Prospect
from lab.schemas.chat_config import Quantization
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.model import Model
from lab.schemas.residency_state import ResidencyState

PipelineT = TypeVar("PipelineT", bound=Pipeline)
LoadedT = TypeVar("LoadedT", bound=Pipeline, covariant=True)


@dataclass(frozen=True)
class Loader(Generic[LoadedT]):
    """
    How models of a task are loaded; both functions block, so they run in threads.

    Attributes
    ----------
    foretell : callable
        Returns what a model will need of its device.
    load : callable
        Makes the pipeline of a model in a form.
    """

    foretell: Callable[[Model], Prospect]
    load: Callable[[Model, Quantization], LoadedT]


@dataclass(slots=True, eq=False)
class Ticket:
    """Someone who waits for a model."""

    model: Model
    loader: Loader[Pipeline]
    lease: LeaseHeld
    granted: "asyncio.Future[Holding]"
    prospect: Prospect | None = None
    said: bool = False
    """Whether it was noted that it waits for models in use."""


class Blocked(NamedTuple):
    """The request that a device's memory is kept for, and what it waits for."""

    ticket: Ticket
    prospect: Prospect
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
        self._wait_s = wait_s
        self._on_import = on_import
        self._queue: list[Ticket] = []
        self._prospects: dict[str, Prospect] = {}
        self._foretelling: dict[str, asyncio.Task[None]] = {}
        self._moves: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def loaded(self) -> dict[str, Pipeline]:
        """The pipelines that are there, by model id."""
        return {
            holding.model_id: holding.pipeline
            for holding in self.ledger.holdings.values()
            if holding.pipeline and holding.state is ResidencyState.resident
        }

    @asynccontextmanager
    async def lease(
        self,
        model: Model,
        loader: Loader[PipelineT],
        *,
        purpose: str,
        owner: UUID | None = None,
    ) -> AsyncIterator[PipelineT]:
        """
        Use a model; it is loaded where it is not there, and stays until the block ends.

        Raises
        ------
        ModelLoadError
            If it cannot be loaded.
        NoRoomError
            If it does not fit, or models in use did not leave in time.
        """
        lease = LeaseHeld(purpose, owner, asyncio.current_task())
        holding = await self._granted(model, loader, lease)
        try:
            yield cast("PipelineT", holding.pipeline)
        finally:
            self.ledger.release(holding, lease)
            self._advance()

    async def unload(self, model_id: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used or on its way."""
        holding = self.ledger.holdings.get(model_id)
        if holding is None:
            return
        if holding.leases or holding.state is not ResidencyState.resident:
            raise ConflictError(
                f"`{model_id}` is {holding.state} and has {len(holding.leases)} leases; it can be "
                "unloaded when nobody uses it. Try again later."
            )
        holding.state = ResidencyState.leaving
        self.ledger.note(DecisionKind.unloaded, holding, "asked for by an administrator")
        await asyncio.shield(self._moving(self._go([holding])))

    async def aclose(self) -> None:
        """Close all models, after the loads under way; who waits gets an error."""
        self._closed = True
        closing = UnavailableError("The lab is closing; try again when it is up.")
        self._fail(list(self._queue), closing)
        await asyncio.gather(*self._foretelling.values(), *self._moves, return_exceptions=True)
        holdings = list(self.ledger.holdings.values())
        for holding in holdings:
            holding.state = ResidencyState.leaving
        await self._go(holdings)

    async def _granted(self, model: Model, loader: Loader[Pipeline], lease: LeaseHeld) -> Holding:
        """Wait for a model and return it with the lease entered."""
        if self._closed:
            raise UnavailableError("The lab is closing; try again when it is up.")
        granted = asyncio.get_running_loop().create_future()
        ticket = Ticket(model, loader, lease, granted, self._prospects.get(model.id))
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
            self.ledger.release(ticket.granted.result(), ticket.lease)
        self._advance()

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
            holding = self.ledger.holdings.get(ticket.model.id)
            if holding is not None:
                self._take(ticket, holding, blocked)
            elif ticket.prospect is None:
                self._foretell(ticket)
            elif (ticket.prospect.device not in blocked or self._holds_any(ticket)) and (
                plan := self._come_if_room(ticket, ticket.prospect)
            ):
                one = Blocked(ticket, ticket.prospect, plan)
                blocked.setdefault(ticket.prospect.device, one)
        return blocked

    def _take(self, ticket: Ticket, holding: Holding, blocked: Collection[str]) -> None:
        """Give a model that is there, unless somebody waits for it to leave."""
        is_free = holding.pinned or holding.device not in blocked or self._holds_any(ticket)
        if holding.state is ResidencyState.resident and is_free:
            self._grant(ticket, holding)

    def _holds_any(self, ticket: Ticket) -> bool:
        """Return whether who asks has a model that may leave: others may wait for them."""
        return any(
            lease.holder is ticket.lease.holder
            for holding in self.ledger.holdings.values()
            if not holding.pinned
            for lease in holding.leases
        )

    def _come_if_room(self, ticket: Ticket, prospect: Prospect) -> Plan | None:
        """Load a model if there is room; return the plan where it waits for models in use."""
        try:
            plan = self.ledger.plan(prospect)
        except NoRoomError as error:
            self._refuse(self._who_wait_for(ticket.model.id), prospect, error)
            return None
        if plan.waits_for:
            return plan
        holding = self.ledger.reserve(prospect, plan)
        self._moving(self._come(ticket, holding, plan))
        return None

    def _wait(self, blocked: Blocked) -> None:
        """Note why a request waits, and until when; refuse it where it would wait for ever."""
        ticket, prospect, plan = blocked
        names = ", ".join(
            f"`{one.model_id}` ({len(one.leases)} in use)"
            if one.leases
            else f"`{one.model_id}` ({one.state})"
            for one in plan.waits_for
        )
        if self._is_stuck(plan):
            vain = NoRoomError(
                f"`{ticket.model.id}` does not fit beside {names}, and who uses them waits for "
                "another model too. Use one after the other, or raise LAB_RESIDENCY_MEMORY_GB."
            )
            self._refuse([ticket], prospect, vain)
            self._advance()
        elif not ticket.said:
            ticket.said = True
            self.ledger.note_of(
                DecisionKind.waiting,
                ticket.model.id,
                prospect.device,
                f"until {names} can leave; {plan.reason}",
            )
            late = NoRoomError(
                f"`{ticket.model.id}` found no room within {self._wait_s:g} s beside {names}. Try "
                "again later, or raise LAB_RESIDENCY_MEMORY_GB or LAB_RESIDENCY_WAIT_S."
            )
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._wait_s, self._give_up, ticket, prospect, late)
            ticket.granted.add_done_callback(lambda _: timer.cancel())

    def _is_stuck(self, plan: Plan) -> bool:
        """Return whether all who use these models wait for memory themselves."""
        waiting = {
            one.lease.holder
            for one in self._queue
            if one.prospect is not None and one.model.id not in self.ledger.holdings
        }
        return all(
            one.leases and waiting.issuperset(lease.holder for lease in one.leases)
            for one in plan.waits_for
        )

    def _give_up(self, ticket: Ticket, prospect: Prospect, late: NoRoomError) -> None:
        """Refuse a request that waited long enough, unless its model is on the way."""
        if ticket.model.id not in self.ledger.holdings:
            self._refuse([ticket], prospect, late)
            self._advance()

    def _refuse(self, tickets: Iterable[Ticket], prospect: Prospect, error: NoRoomError) -> None:
        device = prospect.device
        self.ledger.note_of(DecisionKind.refused, prospect.model_id, device, str(error))
        self._fail(tickets, error)

    def _grant(self, ticket: Ticket, holding: Holding) -> None:
        self._queue.remove(ticket)
        self.ledger.lease(holding, ticket.lease)
        ticket.granted.set_result(holding)

    def _fail(self, tickets: Iterable[Ticket], error: Exception) -> None:
        for ticket in tickets:
            self._queue.remove(ticket)
            ticket.granted.set_exception(error)

    def _who_wait_for(self, model_id: str) -> list[Ticket]:
        return [ticket for ticket in self._queue if ticket.model.id == model_id]

    def _foretell(self, ticket: Ticket) -> None:
        """Find out what a model needs, once for all who wait for it."""
        model_id = ticket.model.id
        if model_id not in self._foretelling:
            self._foretelling[model_id] = asyncio.create_task(self._foretold(ticket))

    async def _foretold(self, ticket: Ticket) -> None:
        model_id = ticket.model.id
        try:
            prospect = await asyncio.to_thread(self._foreseen, ticket)
        except Exception as error:
            self._fail(self._who_wait_for(model_id), error)
        else:
            self._prospects[model_id] = prospect
            for waiting in self._who_wait_for(model_id):
                waiting.prospect = prospect
        finally:
            del self._foretelling[model_id]
        self._advance()

    def _foreseen(self, ticket: Ticket) -> Prospect:
        """Return what a model needs; runs in a thread, and imports what such models need."""
        prospect = ticket.loader.foretell(ticket.model)
        self._on_import()
        return prospect

    async def _come(self, ticket: Ticket, holding: Holding, plan: Plan) -> None:
        """Load a model after its leavers went, and hand it to all who wait for it by then."""
        model_id = holding.model_id
        try:
            await self._go(plan.leavers)
            pipeline = await asyncio.to_thread(ticket.loader.load, ticket.model, plan.form)
        except Exception as error:
            self.ledger.strike(holding)
            self._prospects.pop(model_id, None)  # its files may be others next time
            self.ledger.note(DecisionKind.failed, holding, str(error) or repr(error))
            self._fail(self._who_wait_for(model_id), error)
        else:
            self.ledger.settle(holding, pipeline, plan.reason)
            for waiting in self._who_wait_for(model_id):
                self._grant(waiting, holding)
        self._advance()

    async def _go(self, holdings: Iterable[Holding]) -> None:
        """Close models and strike them out."""
        gone = [holding for holding in holdings if holding.pipeline is not None]
        pipelines = [holding.pipeline for holding in gone if holding.pipeline is not None]
        await asyncio.gather(*(asyncio.to_thread(pipeline.close) for pipeline in pipelines))
        for holding in gone:
            holding.pipeline = None
            self.ledger.strike(holding)
        if gone:
            pipelines.clear()
            await asyncio.to_thread(gc.collect)  # some networks refer to themselves
            self._advance()

    def _moving(self, move: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run a load or an unload on its own: who asked for it may give up meanwhile."""
        task = asyncio.create_task(move)
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        return task
