"""
Random walks over real tiny models: the account equals the truth, whatever happens in which order.

LAB_TEST_STEPS sets how many steps a run takes in all.
"""

import asyncio
import gc
import os
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from transformers import AutoConfig, LlamaConfig

from benchmarks.random_llama import save_random_llama
from lab.errors import ConflictError, NoRoomError, UnavailableError
from lab.pipelines import pipeline_factory, run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.ledger import Holding, Use
from lab.pipelines.memory import memory_needs, network_bytes
from lab.pipelines.residency import Growth, Loader
from lab.protocols import ChatPipeline
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_state import ResidencyState
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.role import Role
from lab.schemas.task import Task

N_STEPS = int(os.environ.get("LAB_TEST_STEPS", "300"))
STEPS_A_WALK = 50
FOLDERS = ("small", "middle", "large")
LAYERS = dict(zip(FOLDERS, (1, 2, 3), strict=True))
MINE = "mine"
"""The name of a model that is one folder or another."""

NAMES = (*FOLDERS, MINE)
HELLO = [ChatMessage(role=Role.user, content="Hello")]
WAIT_S = 0.2

T = TypeVar("T")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of three random Llamas, of which not all fit at once."""
    parent = tmp_path_factory.mktemp("walk")
    for name, n_layers in LAYERS.items():
        config = LlamaConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=512,
            num_hidden_layers=n_layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
        save_random_llama(parent / name, config)
    return [parent / name for name in FOLDERS]


@dataclass(eq=False)
class User:
    """Somebody who asks for a model, has it, and lets it go."""

    name: str
    done: asyncio.Event = field(default_factory=asyncio.Event)
    pipeline: ChatPipeline | None = None
    task: "asyncio.Task[None] | None" = None


class Walk(RuleBasedStateMachine):
    """Loads, leases, answers, cancellations, evictions, failures, in any order."""

    folders: ClassVar[list[Path]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.alive: weakref.WeakSet[TransformersChat] = weakref.WeakSet()
        self.users: list[User] = []
        self.fault: Exception | None = None
        self.n_out_of_memory = 0
        needs = {
            name: memory_needs(AutoConfig.from_pretrained(folder), torch.float32, n_tokens=64)
            for name, folder in zip(FOLDERS, self.folders, strict=True)
        }
        totals = [need[Quantization.none].total for need in needs.values()]
        self.budget = sum(totals) - min(totals) // 2
        config = ChatConfig(
            model=str(self.folders[0]), models=[str(one) for one in self.folders[1:]], threads=1
        )
        residency = ResidencyConfig(memory_gb=self.budget / 1e9, wait_s=WAIT_S)
        self.factory = pipeline_factory(config, EmbeddingConfig(), residency)
        kind = (Task.chat, Engine.lab)
        plain = self.factory._loaders[kind]

        def watched(model: Model) -> Loader[Quantization, TransformersChat]:
            loader = plain(model)

            def load(form: Quantization, growth: Growth) -> TransformersChat:
                if self.fault:
                    fault, self.fault = self.fault, None
                    raise fault
                chat = loader.load(form, growth)
                chat._network.register_forward_pre_hook(self.run_out)
                self.alive.add(chat)
                return chat

            return Loader(loader.foretell, load)

        self.factory._loaders[kind] = watched
        self.factory.add(self.mine(0))
        self.hasty: asyncio.Task[None] | None = None
        ledger = self.factory.residents.ledger
        enter = ledger.lease

        def lease(holding: Holding, use: Use) -> None:
            enter(holding, use)
            if self.hasty and use.holder is self.hasty:
                self.hasty.cancel()

        ledger.lease = lease  # type: ignore[method-assign]

    def mine(self, folder: int) -> Model:
        return Model(id=MINE, task=Task.chat, source=str(self.folders[folder]))

    def run_out(self, *_: object) -> None:
        """Be out of memory for as many steps as were asked for."""
        if self.n_out_of_memory:
            self.n_out_of_memory -= 1
            raise torch.OutOfMemoryError("The device ran out of memory.")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _settle(self) -> None:
        """Wait until no model comes or goes."""
        residents = self.factory.residents
        while residents._moves or residents._foretelling:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    async def _hold(self, user: User) -> None:
        async with self.factory.chat(user.name) as chat:
            user.pipeline = chat
            await user.done.wait()
            user.pipeline = None

    @rule(name=st.sampled_from(NAMES))
    def ask(self, name: str) -> None:
        async def work() -> None:
            user = User(name)
            user.task = asyncio.create_task(self._hold(user))
            self.users.append(user)
            await asyncio.sleep(0)
            await self._settle()

        if len(self.users) < 6:
            self.run(work())

    @rule(name=st.sampled_from(NAMES))
    def give_up_as_it_comes(self, name: str) -> None:
        """Ask for a model, and give it up in the moment in which it is granted."""

        async def work() -> None:
            self.hasty = asyncio.create_task(self._hold(User(name)))
            with suppress(asyncio.CancelledError, NoRoomError, UnavailableError):
                await self.hasty
            await self._settle()

        self.run(work())

    @rule(name=st.sampled_from(NAMES), n_ms=st.integers(0, 30), gives_up=st.booleans())
    def unload_as_it_comes(self, name: str, n_ms: int, gives_up: bool) -> None:
        """Ask for a model, and take it out while it is foretold, loaded, or just there."""

        async def work() -> None:
            user = User(name)
            user.task = asyncio.create_task(self._hold(user))
            await asyncio.sleep(n_ms / 1000)
            if gives_up:
                user.task.cancel()
                await asyncio.sleep(0)
            with suppress(ConflictError):
                async with asyncio.timeout(10):
                    await self.factory.unload(name)
            user.done.set()
            with suppress(asyncio.CancelledError, NoRoomError, UnavailableError):
                await user.task
            await self._settle()

        self.run(work())

    @rule(folder=st.integers(0, 2), n_ms=st.integers(0, 30), asks=st.booleans())
    def take_another_by_that_name(self, folder: int, n_ms: int, asks: bool) -> None:
        """Remove a model, which may be on its way, and add another by its name."""

        async def work() -> None:
            user = User(MINE)
            if asks and len(self.users) < 6:
                user.task = asyncio.create_task(self._hold(user))
                self.users.append(user)
                await asyncio.sleep(n_ms / 1000)
            with suppress(ConflictError):
                async with asyncio.timeout(10):
                    await self.factory.remove(MINE)
                self.factory.add(self.mine(folder))
            await self._settle()

        self.run(work())

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        user = self.users.pop(data.draw(st.integers(0, len(self.users) - 1)))

        async def work() -> None:
            user.done.set()
            with suppress(NoRoomError, UnavailableError):
                await cast("asyncio.Task[None]", user.task)
            await self._settle()

        self.run(work())

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        user = self.users.pop(data.draw(st.integers(0, len(self.users) - 1)))

        async def work() -> None:
            task = cast("asyncio.Task[None]", user.task)
            task.cancel()
            with suppress(asyncio.CancelledError, NoRoomError, UnavailableError):
                await task
            user.pipeline = None
            await self._settle()

        self.run(work())

    @precondition(lambda self: any(user.pipeline for user in self.users))
    @rule(n_tokens=st.integers(1, 40), n_answers=st.integers(1, 8))
    def answer(self, n_tokens: int, n_answers: int) -> None:
        """All who have a model ask it, some of them for more than there is room for at once."""

        async def one(pipeline: ChatPipeline) -> None:
            parameters = GenerationParameters(max_new_tokens=n_tokens)
            with suppress(NoRoomError):
                answer = await run_pipeline(pipeline, HELLO, parameters)
                assert answer.usage.completion_tokens == n_tokens

        async def work() -> None:
            asked = [user.pipeline for user in self.users if user.pipeline]
            async with asyncio.timeout(20):
                await asyncio.gather(*(one(each) for each in asked for _ in range(n_answers)))
            await self._settle()

        self.run(work())

    @rule(n_steps=st.integers(1, 6))
    def run_out_of_memory_in_answers(self, n_steps: int) -> None:
        self.n_out_of_memory = n_steps

    @rule(name=st.sampled_from(NAMES))
    def relearn(self, name: str) -> None:
        self.factory.share(name, ResidencyUpdate(relearn=True))

    @rule(name=st.sampled_from(NAMES))
    def unload(self, name: str) -> None:
        async def work() -> None:
            with suppress(ConflictError):
                await self.factory.unload(name)
            await self._settle()

        self.run(work())

    @rule(name=st.sampled_from(NAMES), pinned=st.booleans(), priority=st.integers(-2, 2))
    def share(self, name: str, pinned: bool, priority: int) -> None:
        self.factory.residents.ledger.pin(name, pinned=pinned)
        self.factory.residents.ledger.prioritise(name, priority)

    @rule()
    def run_out_of_memory_at_the_next_load(self) -> None:
        self.fault = NoRoomError("The device ran out of memory.")

    @invariant()
    def the_account_is_the_truth(self) -> None:
        there = [chat for chat in self.alive if hasattr(chat, "_network")]
        report = self.factory.residency()
        truth = sum(network_bytes(chat._network) + chat.engine.n_bytes for chat in there)
        assert sum(one.used_bytes for one in report.models) == truth
        assert sum(one.taken_bytes for one in report.models) <= self.budget
        assert len(there) == len(report.models)
        assert all(one.used_bytes <= one.taken_bytes for one in report.models)

    @invariant()
    def what_was_foretold_is_of_the_model_that_came(self) -> None:
        for holding in self.factory.residents.ledger.holdings.values():
            chat = cast("TransformersChat", holding.occupant)
            assert network_bytes(chat._network) == holding.need.weights
            assert chat.model.source == self.factory.known(holding.name).source

    @invariant()
    def who_has_a_model_has_it(self) -> None:
        holdings = self.factory.residents.ledger.holdings
        for user in self.users:
            if user.pipeline:
                assert id(holdings[user.name].occupant) == id(user.pipeline)
                assert holdings[user.name].state is ResidencyState.resident
        n_held = sum(user.pipeline is not None for user in self.users)
        assert sum(len(one.uses) for one in holdings.values()) == n_held

    def teardown(self) -> None:
        async def work() -> None:
            for user in self.users:
                user.done.set()
            tasks = [user.task for user in self.users if user.task]
            async with asyncio.timeout(10):  # nobody waits for ever
                await asyncio.gather(*tasks, return_exceptions=True)
            await self.factory.aclose()

        self.run(work())
        self.runner.close()
        gc.collect()
        assert not [chat for chat in self.alive if hasattr(chat, "_network")]
        assert self.factory.residency().models == []


def test_the_account_is_the_truth_on_every_walk(folders: list[Path]) -> None:
    Walk.folders = folders
    Walk.TestCase.settings = settings(
        max_examples=N_STEPS // STEPS_A_WALK,
        stateful_step_count=STEPS_A_WALK,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="LAB_TEST_STEPS" not in os.environ,
    )
    Walk.TestCase().runTest()
