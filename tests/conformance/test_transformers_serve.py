"""`transformers serve`, reached as any server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.conftest import engine_at
from tests.conformance.contract import LAB_TINY, Engine, EngineContract
from tests.conformance.servers import program, running
from tests.ports import free_port

pytestmark = pytest.mark.integration

CAN = frozenset({"top_k", "min_p", "repetition_penalty", "logit_bias", "enable_thinking"})


@pytest.fixture(scope="module")
async def engine(endless_folder: Path) -> AsyncIterator[Engine]:
    port = free_port()
    command = [program("transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    server = {"url": f"{url}/v1", "kind": "transformers"}
    names = str(LAB_TINY), str(endless_folder)
    tiny, endless = (
        {**server, "models": [name], "tokenizer": name, "context_length": length}
        for name, length in zip(names, (1024, 16_384), strict=True)
    )
    command += ["--device", "cpu", "--dtype", "float32"]
    async with (
        running(command, f"{url}/health"),
        engine_at(tiny, endless, names, can=CAN, at_once=1) as engine,
    ):
        yield engine


class TestTransformersServe(EngineContract):
    """Without continuous batching, where each request has sampling of its own."""
