"""
The steps of a task, each done once.

What came of a step is stored in one transaction with its row, and from then on it is read: no
later run, after whatever end of an earlier one, does it again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lab.db import Stores
from lab.errors import LabError, NotFoundError
from lab.schemas.event_type import EventType
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.run_status import RunStatus
from lab.schemas.usage import Usage
from lab.workflows.research.context import ResearchContext


async def _nothing_more(_stores: Stores) -> None:
    pass


@dataclass(frozen=True)
class Done:
    """
    What came of a step.

    Attributes
    ----------
    result : str
        As it is stored with the step.
    spent : sequence of Usage
        What models cost.
    store : callable
        Stores what else belongs to it, in the same transaction.
    problem : str or None
        What went wrong, although it is done.
    """

    result: str
    spent: Sequence[Usage] = ()
    store: Callable[[Stores], Awaitable[None]] = _nothing_more
    problem: str | None = None


async def steps_of(context: ResearchContext, kind: Kind) -> list[ResearchStep]:
    """Return the steps of one kind, in the order of the questions that they are about."""
    async with context.stores() as stores:
        steps = await stores.research_steps.list(context.task.id)
    return [step for step in steps if step.kind is kind]


async def step_of(context: ResearchContext, kind: Kind, place: int = 0) -> ResearchStep:
    """Return the step of a kind that is about the question at a place."""
    steps = await steps_of(context, kind)
    if place >= len(steps):
        raise NotFoundError(f"research step `{kind}`", f"{context.task.id}[{place}]")
    return steps[place]


async def results_of(context: ResearchContext, kind: Kind) -> list[str | None]:
    """Return what came of the steps of one kind; None of one that failed."""
    return [step.result for step in await steps_of(context, kind)]


async def once(
    context: ResearchContext,
    kind: Kind,
    place: int,
    work: Callable[[ResearchStep], Awaitable[Done]],
) -> str:
    """
    Return what came of a step: read where it is done, else done now.

    Raises
    ------
    ConflictError
        If another run works on the task, or it was stopped.
    LabError
        If the work fails; that is stored with the step.
    """
    step = await step_of(context, kind, place)
    if step.status is not RunStatus.completed:
        step = await _do(context, step, work)
    await _tell(context, step)
    assert step.result is not None, "it is done"
    return step.result


async def _do(
    context: ResearchContext, step: ResearchStep, work: Callable[[ResearchStep], Awaitable[Done]]
) -> ResearchStep:
    async with context.stores() as stores:
        await stores.research_tasks.hold(context.task.id, context.run_id)
        step = await stores.research_steps.update(step.id, status=RunStatus.running)
    await _tell(context, step)
    try:
        done = await work(step)
    except LabError as error:
        async with context.stores() as stores:
            await stores.research_tasks.hold(context.task.id, context.run_id)
            await stores.research_steps.update(step.id, status=RunStatus.failed, error=str(error))
        raise
    async with context.stores() as stores:
        await stores.research_tasks.hold(context.task.id, context.run_id)
        step = await stores.research_steps.complete(step.id, done.result, done.problem)
        await done.store(stores)
        for usage in done.spent:
            profile = context.profile
            await stores.usage.add(profile.model, profile.id, usage, run_id=context.run_id)
    context.spent.extend(done.spent)
    return step


async def _tell(context: ResearchContext, step: ResearchStep) -> None:
    context.tell(
        EventType.research_step,
        id=str(step.id),
        kind=step.kind.value,
        question=step.question,
        position=step.position,
        status=step.status.value,
    )
    if step.status is RunStatus.completed:
        steps = await steps_of(context, step.kind)
        n_done = sum(one.status is RunStatus.completed for one in steps)
        context.tell(EventType.stage, name=step.kind.value, n_done=n_done, n_total=len(steps))
