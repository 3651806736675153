"""The unmodified `langchain-openai`."""

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.api_server import Api

pytestmark = pytest.mark.integration


@pytest.fixture
def model(api: Api, ann: str) -> ChatOpenAI:
    return ChatOpenAI(
        model="lab-tiny",
        base_url=f"{api.url}/v1",
        api_key=SecretStr(ann),
        seed=3,
        max_retries=0,
        max_completion_tokens=12,
    )


async def test_it_answers_and_streams_the_same(model: ChatOpenAI) -> None:
    whole = await model.ainvoke("Hello.")
    pieces = [piece.text async for piece in model.astream("Hello.")]

    assert whole.text
    assert "".join(pieces) == whole.text
    assert whole.response_metadata["token_usage"]["total_tokens"] > 0


async def test_it_binds_tools(model: ChatOpenAI) -> None:
    def current_time() -> str:
        """Tell the time."""
        return "09:30"

    answer = await model.bind_tools([current_time]).ainvoke("What time is it?")

    assert answer.text or answer.tool_calls
