"""llama.cpp's server, on GGUF files of the same weights."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from benchmarks.gguf_file import save_gguf
from tests.conformance.conftest import engine_at
from tests.conformance.contract import LAB_TINY, Engine, EngineContract
from tests.conformance.servers import running
from tests.ports import free_port

pytestmark = pytest.mark.llama_cpp


@pytest.fixture(scope="module")
async def engine(
    llama_server: str, endless_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    folder = tmp_path_factory.mktemp("gguf")
    endpoints, roots = [], []
    async with AsyncExitStack() as stack:
        for source in (LAB_TINY, endless_folder):
            file = save_gguf(source, folder / f"{source.name}.gguf")
            port = free_port()
            command = [llama_server, "--model", str(file), "--alias", source.name, "--jinja"]
            command += ["--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
            command += ["--parallel", "8", "--ctx-size", "0", "--kv-unified"]
            roots.append(f"http://127.0.0.1:{port}")
            await stack.enter_async_context(running(command, f"{roots[-1]}/health"))
            endpoints.append(
                {"url": f"{roots[-1]}/v1", "kind": "llama.cpp", "tokenizer": str(source)}
            )

        async def active() -> int:
            async with httpx.AsyncClient(trust_env=False) as client:
                slots = [(await client.get(f"{root}/slots")).json() for root in roots]
            return sum(slot["is_processing"] for each in slots for slot in each)

        names = LAB_TINY.name, endless_folder.name
        tiny, endless = endpoints
        yield await stack.enter_async_context(
            engine_at(tiny, endless, names, active=active, calls_at_once=False)
        )


class TestLlamaCpp(EngineContract):
    """Several slots, each with the whole window."""
