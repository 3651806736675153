"""The unmodified `openai` client for JavaScript."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lab.supervisor.proxy import node
from tests.api_server import Api

pytestmark = pytest.mark.integration


async def run(folder: Path, program: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        str(node()), program, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(said)
    return result


async def test_it_lists_chats_streams_embeds_and_throws(
    api: Api, ann: str, node_folder: Path
) -> None:
    said = await run(node_folder, "client.mjs", f"{api.url}/v1", ann)

    assert "lab-tiny" in said["models"]
    assert said["streamed"] == said["whole"] != ""
    assert said["usage"] > 0
    assert said["dimensions"] == 384
    assert said["status"] == 404
    assert "Did you mean `lab-tiny`" in said["message"]
