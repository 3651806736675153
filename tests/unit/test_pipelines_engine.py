"""The thread of a batch: how it ends, and what its readers are told."""

import asyncio
import threading
from collections import deque
from typing import Any, cast

import pytest

from lab.errors import LabError, UnavailableError
from lab.pipelines.batch import Batch
from lab.pipelines.engine import Engine, Mailbox
from lab.pipelines.request import Request
from lab.pipelines.tally import Tally


class Steps:
    """A batch whose one step takes until it is let go."""

    n_bytes = 0
    is_stalled = False

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.steps = threading.Event()
        self.go = threading.Event()
        self.fault: Exception | None = None

    @property
    def requests(self) -> list[Request]:
        return list(self.waiting)

    def step(self) -> None:
        self.steps.set()
        assert self.go.wait(10)
        if self.fault:
            raise self.fault


class Asked:
    """A request that is never answered, but fails with the engine."""

    n_cached = n_new = 0
    finished = cancelled = False

    def __init__(self, engine: Engine) -> None:
        self.input_ids: list[int] = []
        self._engine = engine

    def fail(self, error: LabError) -> None:
        self.finished = True
        self._engine.deliver(cast("Request", self), error)


@pytest.fixture
def batch() -> Steps:
    return Steps()


@pytest.fixture
def engine(batch: Steps) -> Engine:
    return Engine(lambda _: cast("Batch", batch), max_streams=4, max_queue=4, tally=Tally())


async def asked(engine: Engine, batch: Steps) -> Mailbox:
    """Ask the engine, and return where the answer comes once the step for it runs."""
    mailbox = Mailbox()
    engine.submit(cast("Request", Asked(engine)), mailbox)
    assert await asyncio.to_thread(batch.steps.wait, 10)
    return mailbox


async def taken(mailbox: Mailbox) -> Any:
    (outcome,) = await asyncio.wait_for(mailbox.take(), 5)
    return outcome


async def until(engine: Engine, name: str) -> None:
    """Wait until the engine was asked for something."""
    async with asyncio.timeout(10):
        while not getattr(engine, name):
            await asyncio.sleep(0.001)


async def test_an_engine_that_closes_while_it_rests_fails_its_answers(
    engine: Engine, batch: Steps
) -> None:
    mailbox = await asked(engine, batch)
    ends = asyncio.gather(asyncio.to_thread(engine.rest), asyncio.to_thread(engine.close))
    await until(engine, "_resting")
    await until(engine, "_closed")
    batch.go.set()
    outcome = await taken(mailbox)
    await asyncio.wait_for(ends, 5)

    assert isinstance(outcome, UnavailableError)
    assert engine.stats.active == 0


async def test_answers_are_told_that_the_model_was_unloaded(engine: Engine, batch: Steps) -> None:
    mailbox = await asked(engine, batch)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    await until(engine, "_closed")
    batch.go.set()

    said = "The model was unloaded while this answer ran; send it again."
    assert str(await taken(mailbox)) == said
    await closing


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_answers_are_told_that_the_engine_stopped(engine: Engine, batch: Steps) -> None:
    batch.fault = MemoryError()
    mailbox = await asked(engine, batch)
    thread = cast("threading.Thread", engine._thread)
    batch.go.set()

    outcome = await taken(mailbox)
    await asyncio.to_thread(thread.join)  # its last words belong to this test
    said = "The model's engine stopped while this answer ran, and starts again; send it again."
    assert str(outcome) == said
