"""What schemathesis makes up from the OpenAPI document: no 5xx, and every answer as documented."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from api.identity import LocalIdentity
from tests.api_server import Api, running_api
from tests.model_hub import model_hub

pytestmark = pytest.mark.integration

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
TOKEN = "fuzz"
FEW = {"type": "integer", "minimum": 1, "maximum": 4}
PARAMETERS = "#/components/schemas/GenerationParameters"
SHORT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"max_new_tokens": FEW},
    "required": ["max_new_tokens"],
}
HERE = {"type": "string", "enum": ["lab-tiny"]}
TOO_MUCH = {"type": "number", "minimum": 100_000, "maximum": 1_000_000}
NIGHTLY = {
    "cron": {"type": "string", "enum": ["30 2 * * *"]},
    "evaluation": {"type": "string", "enum": ["long_memory"]},
    "parameters": {"type": "object", "maxProperties": 0},
}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)


@pytest.fixture
async def api(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    """Return a server whose key cannot be revoked by what is made up; its hub has no model."""
    with model_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        async with running_api(database_url, LAB_DATA_FOLDER=str(tmp_path / "data")) as api:
            api.app.state.identity = LocalIdentity("fuzz", TOKEN)
            yield api


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with requests for what is there, is short, and ends."""
    schemas = document["components"]["schemas"]
    chat, turn, sampling = (
        schemas[name] for name in ("ChatCompletionRequest", "ChatTurn", "GenerationParameters")
    )
    chat["properties"] |= {"model": HERE, "max_tokens": FEW, "max_completion_tokens": FEW}
    chat["required"] += ["max_tokens"]
    turn["properties"] |= {"profile": HERE, "parameters": {"$ref": PARAMETERS}}
    turn["required"] += ["parameters"]
    sampling["properties"]["max_new_tokens"] = FEW
    sampling["required"] = ["max_new_tokens"]
    configurable, run = schemas["RunConfigurable"], schemas["ThreadRunRequest"]
    configurable["properties"] |= {"parameters": SHORT}
    configurable["required"] = ["parameters"]
    schemas["RunConfig"]["required"] = ["configurable"]
    run["properties"] |= {
        "agent_id": HERE,
        "assistant_id": {"type": "null"},
        "config": {"$ref": "#/components/schemas/RunConfig"},
    }
    run["required"] = ["agent_id", "config"]
    for path in ("/runs", "/runs/wait", "/runs/stream"):  # the same by another address
        del document["paths"][f"/v1/threads/{{thread_id}}{path}"]["post"]
    schemas["LeaseRequest"]["properties"] |= {"gb": TOO_MUCH}
    schemas["ScheduleRequest"]["properties"] |= NIGHTLY
    schemas["WebReadRequest"]["properties"] |= {"offline": {"type": "boolean", "enum": [True]}}
    schemas["WebReadRequest"]["required"] += ["offline"]
    schemas["WebSearchRequest"]["properties"] |= {"providers": {"type": "null"}}
    research = schemas["ResearchRequest"]
    research["properties"] |= {"profile": HERE, "offline": {"type": "boolean", "enum": [True]}}
    research["properties"]["settings"] = {"type": "object", "maxProperties": 0}
    research["required"] += ["offline"]
    return document


@pytest.mark.timeout(900)
async def test_nothing_that_is_made_up_breaks_the_api(api: Api, tmp_path: Path) -> None:
    async with api.client(None) as client:
        document = narrowed((await client.get("/openapi.json")).json())
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    command = [
        *(str(SCHEMATHESIS), "run", str(file), "--url", api.url),
        *("--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS)),
        *("--seed", "1", "--max-examples", "5", "--no-color"),
        *("--generation-database", "none", "--request-timeout", "60"),
    ]

    run = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
