"""vLLM's process under the lab: a small server stands in its place, everything else is real."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest
import torch

from lab.errors import ConfigError, ModelLoadError, NoRoomError, RemoteError, UnavailableError
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.served.chat import ServedChat, child_environment
from lab.pipelines.served.child import Child, ChildSpec, State
from lab.pipelines.vllm.chat import foretell_vllm
from lab.pipelines.vllm.settings import vllm_models
from lab.protocols import ChatPipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.role import Role
from lab.schemas.vllm_config import VllmConfig

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "served_stand_in.py"
COMMAND = [sys.executable, "-S", str(STAND_IN)]


def vllm(folder: Path, **settings: Any) -> VllmConfig:
    model = {"model": str(folder), "name": "big", "memory_gb": 0.5, "device": "cpu"}
    timeouts = {
        name: settings.pop(name)
        for name in ("start_timeout_s", "stop_timeout_s")
        if name in settings
    }
    return VllmConfig.model_validate(
        {"command": settings.pop("command", COMMAND), "models": [model | settings], **timeouts}
    )


@asynccontextmanager
async def running(config: VllmConfig) -> AsyncIterator[PipelineFactory]:
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), vllm=config)
    try:
        yield factory
    finally:
        await factory.aclose()


async def told(chat: ChatPipeline, text: str = "Hello.") -> dict[str, Any]:
    """Return what the server tells of itself."""
    asked = [ChatMessage(role=Role.user, content=text)]
    answer = await run_pipeline(chat, asked, GenerationParameters())
    found: dict[str, Any] = json.loads(answer.content)
    return found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.05)


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def test_it_is_started_with_what_the_settings_say(llama_folder: Path) -> None:
    more = {"tensor_parallel": 2, "pipeline_parallel": 3, "max_length": 400, "dtype": "half"}
    config = vllm(llama_folder, quantization="fp8", arguments=["--enable-lora"], **more)

    async with running(config) as factory, factory.chat("big") as chat:
        argv = (await told(chat))["argv"]
        length = chat.model.context_length
        n_tokens = chat.count_text("kamitore")

    assert argv[0] == str(llama_folder)
    given = dict(zip(argv[1:-1:2], argv[2:-1:2], strict=True))
    assert given["--tensor-parallel-size"] == "2"
    assert given["--pipeline-parallel-size"] == "3"
    assert given["--max-model-len"] == "400"
    assert given["--quantization"] == "fp8"
    assert given["--dtype"] == "half"
    assert given["--host"] == "127.0.0.1"
    share = 0.5e9 / psutil.virtual_memory().total
    assert float(given["--gpu-memory-utilization"]) == pytest.approx(share, abs=1e-4)
    assert argv[-1] == "--enable-lora"
    assert length == 400
    assert n_tokens < len("kamitore") / 2  # by its own tokenizer


async def test_a_draft_model_proposes_tokens(llama_folder: Path) -> None:
    config = vllm(llama_folder, draft_model="small/one", draft_tokens=3)

    async with running(config) as factory, factory.chat("big") as chat:
        argv = (await told(chat))["argv"]

    assert json.loads(argv[argv.index("--speculative-config") + 1]) == {
        "method": "draft_model",
        "model": "small/one",
        "num_speculative_tokens": 3,
    }


async def test_its_window_is_the_one_that_it_tells(llama_folder: Path) -> None:
    async with running(vllm(llama_folder)) as factory, factory.chat("big") as chat:
        assert chat.model.context_length == 512
        assert chat.model.loaded


async def test_it_gets_a_key_of_its_own_and_no_secret_of_the_lab(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")

    async with running(vllm(llama_folder)) as factory, factory.chat("big") as chat:
        found = await told(chat)
        port = found["argv"][found["argv"].index("--port") + 1]
        url = f"http://127.0.0.1:{port}/v1/models"
        response = await asyncio.to_thread(httpx.get, url, trust_env=False)

    assert "VLLM_API_KEY" in found["environ"]
    assert not {"LAB_DATABASE_URL", "JUPYTERHUB_API_TOKEN"} & set(found["environ"])
    assert response.status_code == 401


def test_it_sees_the_devices_from_its_first_on() -> None:
    plain = child_environment({}, "cuda:1", 2)
    mapped = child_environment({"CUDA_VISIBLE_DEVICES": "4,5,6"}, "cuda:1", 2)

    assert plain["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert mapped["CUDA_VISIBLE_DEVICES"] == "5,6"


def test_it_takes_as_much_of_each_device(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [torch.device("cuda", i) for i in range(3)]
    monkeypatch.setattr("lab.pipelines.vllm.chat.candidates", lambda _: there)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: len(there))
    config = vllm(llama_folder, device="auto", tensor_parallel=2)
    (model,) = vllm_models(config)

    ahead = foretell_vllm(model, config)

    assert ahead.devices == ["cuda:0", "cuda:1"]
    assert ahead.span("cuda:1") == ("cuda:1", "cuda:2")
    with pytest.raises(ModelLoadError, match=r"takes 4 devices from `cuda:0` on, and there are 3"):
        foretell_vllm(model, vllm(llama_folder, device="auto", tensor_parallel=4))


async def test_its_memory_is_in_the_ledger_until_it_is_gone(llama_folder: Path) -> None:
    async with running(vllm(llama_folder)) as factory:
        async with factory.chat("big") as chat:
            pid = (await told(chat))["pid"]
            (resident,) = factory.residency().models
            assert (resident.model, resident.device) == ("big", "cpu")
            assert resident.used_bytes == resident.taken_bytes == 500_000_000
            assert resident.weight_bytes is None
        assert factory.stats().prompt_tokens == 3
        await factory.unload("big")

        assert not factory.residency().models
        assert not psutil.pid_exists(pid)


async def test_what_does_not_fit_is_refused_before_it_is_started(llama_folder: Path) -> None:
    config = vllm(llama_folder, memory_gb=100_000)

    async with running(config) as factory:
        with pytest.raises(NoRoomError, match=r"`big` does not fit.*`memory_gb`"):
            async with factory.chat("big"):
                pass


async def test_one_that_dies_is_started_again(llama_folder: Path) -> None:
    async with running(vllm(llama_folder)) as factory, factory.chat("big") as chat:
        child = cast("ServedChat", chat)._child
        first = (await told(chat))["pid"]
        with pytest.raises(RemoteError, match="broke off"):
            await told(chat, "crash")
        await until(lambda: child.state is State.WAITING)
        with pytest.raises(
            UnavailableError, match=r"`big` is waiting: its server ended with code 3"
        ):
            await told(chat)
        await until(lambda: child.state is State.READY)

        assert (await told(chat))["pid"] != first
        assert child.restarts == 1


async def test_one_that_hangs_is_started_again(llama_folder: Path) -> None:
    async with running(vllm(llama_folder)) as factory, factory.chat("big") as chat:
        spec = cast("ServedChat", chat)._child.spec
    child = Child(ChildSpec(**{**vars(spec), "look_s": 0.2, "stop_timeout_s": 1}))
    await asyncio.to_thread(child.start)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(
                spec.health_url.replace("/health", "/v1/chat/completions"),
                json={"messages": [{"content": "hang"}]},
                headers={"Authorization": f"Bearer {spec.environment['VLLM_API_KEY']}"},
            )
        await until(lambda: child.restarts == 1 and child.state is State.READY)
        assert child.ended == "did not answer 3 times"
    finally:
        await asyncio.to_thread(child.close)


async def test_one_that_cannot_be_begun_is_tried_again(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Child._spawned
    faults = [OSError(11, "Resource temporarily unavailable")]

    def failing(child: Child) -> Any:
        if faults:
            raise faults.pop()
        return begun(child)

    async with running(vllm(llama_folder)) as factory:
        monkeypatch.setattr(Child, "_spawned", failing)
        with pytest.raises(ModelLoadError, match=r"`big`.*could not be begun.*temporarily"):
            await factory.load("big")
        async with factory.chat("big") as chat:
            child = cast("ServedChat", chat)._child
            faults.append(OSError(12, "Cannot allocate memory"))
            with pytest.raises(RemoteError, match="broke off"):
                await told(chat, "crash")
            await until(lambda: not faults and child.state is State.READY)
            assert (await told(chat))["argv"]


async def test_where_vllm_is_not_installed_the_error_says_how_to_get_it(llama_folder: Path) -> None:
    config = vllm(llama_folder, command=["vllm-that-is-not-here", "serve"])

    async with running(config) as factory:
        with pytest.raises(ModelLoadError, match=r"`big` needs vLLM.*pip install vllm"):
            async with factory.chat("big"):
                pass


async def test_one_that_does_not_start_says_what_it_said(llama_folder: Path) -> None:
    config = vllm(llama_folder, arguments=["--fails"])

    async with running(config) as factory:
        with pytest.raises(ModelLoadError, match=r"ended with code 1.*no kernel image"):
            async with factory.chat("big"):
                pass
        assert not factory.residency().models


async def test_one_that_takes_too_long_is_given_up(llama_folder: Path) -> None:
    config = vllm(llama_folder, arguments=["--late", "60"], start_timeout_s=0.5)

    async with running(config) as factory:
        with pytest.raises(ModelLoadError, match=r"not ready in 0\.5 s"):
            async with factory.chat("big"):
                pass
    assert not [one for one in below(psutil.Process().pid) if "--late" in one.cmdline()]


async def test_a_lab_that_closes_waits_for_no_start(llama_folder: Path) -> None:
    config = vllm(llama_folder, arguments=["--late", "60"])

    async with running(config) as factory, asyncio.timeout(10):
        loading = asyncio.create_task(factory.load("big"))
        await until(lambda: bool(factory.residency().models))
        await factory.aclose()
        with pytest.raises(UnavailableError, match="closing"):
            await loading


async def test_it_ends_with_all_that_it_started_even_against_its_will(llama_folder: Path) -> None:
    config = vllm(llama_folder, arguments=["--stubborn"], stop_timeout_s=0.5)

    async with running(config) as factory, factory.chat("big") as chat:
        pid = (await told(chat))["pid"]
        processes = [psutil.Process(pid), *below(pid)]

    assert len(processes) == 2
    assert not [one for one in processes if _lives(one)]


LAB = """
import asyncio, sys
from lab.pipelines import pipeline_factory
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.vllm_config import VllmConfig

async def main():
    config = VllmConfig.model_validate_json(sys.argv[1])
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), vllm=config)
    async with factory.chat("big"):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_it_ends_when_the_lab_is_killed(llama_folder: Path) -> None:
    config = vllm(llama_folder, arguments=["--stubborn"], stop_timeout_s=0.5)
    command = [sys.executable, "-c", LAB, config.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as lab:
        assert lab.stdout
        assert lab.stdout.readline() == "ready\n"
        processes = below(lab.pid)
        lab.kill()

    assert len(processes) == 3  # the guard, the server and what that started
    deadline = time.monotonic() + 10
    while [one for one in processes if _lives(one)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [one for one in processes if _lives(one)]


def test_two_models_of_one_name_are_refused() -> None:
    one = {"model": "org/a", "memory_gb": 1}
    config = VllmConfig.model_validate({"models": [one, one]})

    with pytest.raises(ConfigError, match="`vllm/a`"):
        pipeline_factory(ChatConfig(), EmbeddingConfig(), vllm=config)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
