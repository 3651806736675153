"""Models of other servers: what is sent, what comes of each answer, and what of each failure."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import PIL.Image
import pytest

from lab.errors import (
    ConfigError,
    ContextLengthError,
    InputError,
    LabError,
    ModelLoadError,
    RateLimitError,
    RemoteError,
    UnknownModelError,
)
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.remote.chat import RemoteChat
from lab.pipelines.remote.client import RemoteClient
from lab.pipelines.remote.counting import Estimate
from lab.pipelines.remote.failures import OF_THE_LAB
from lab.protocols import ChatPipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message_image import MessageImage
from lab.schemas.model import Model
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from tests.peer_server import Peer, Reply, chunk, event, peer, said, stream_of, usage

__all__ = ["peer"]

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
CLOCK = Tool(name="clock", parameters={"type": "object", "properties": {}})
Ask = Callable[..., Any]


def user(text: str = "Hello.") -> list[ChatMessage]:
    return [ChatMessage(role=Role.user, content=text)]


def factory_of(url: str, **settings: Any) -> PipelineFactory:
    endpoint = {"name": "there", "url": f"{url}/v1", "retries": 2, "context_length": 1000}
    config = RemotesConfig.model_validate({"endpoints": [endpoint | {"models": ["m"]} | settings]})
    return pipeline_factory(ChatConfig(), EmbeddingConfig(), remotes=config)


@asynccontextmanager
async def chat_at(url: str, model: str = "there/m", **settings: Any) -> AsyncIterator[ChatPipeline]:
    factory = factory_of(url, **settings)
    try:
        async with factory.chat(model) as chat:
            yield chat
    finally:
        await factory.aclose()


async def ask(peer: Peer, *, tools: list[Tool] | None = None, **parameters: Any) -> ChatResult:
    """Return the answer of a server of the kind `vllm`."""
    settings = {"kind": parameters.pop("kind", "vllm"), "key": parameters.pop("key", None)}
    async with chat_at(peer.url, **settings) as chat:
        return await run_pipeline(chat, user(), GenerationParameters(**parameters), tools or [])


async def failure(peer: Peer, reply: Reply, **settings: Any) -> LabError:
    peer.answers[CHAT] = [reply]
    with pytest.raises(LabError) as caught:
        async with chat_at(peer.url, **{"retries": 0} | settings) as chat:
            await run_pipeline(chat, user(), GenerationParameters())
    return caught.value


async def test_an_answer_comes_in_pieces_with_what_it_cost(peer: Peer) -> None:
    pieces = [chunk({"content": part}) for part in ("Good", " day")]
    alive = ": still there\n\n", "event: ping\nid: 1\n\n"
    peer.answers[CHAT] = [stream_of(*alive, *pieces, chunk(finish_reason="length"), usage(7, 2))]

    async with chat_at(peer.url) as chat:
        deltas = [delta async for delta in chat.stream(user(), GenerationParameters())]

    assert [delta.content for delta in deltas[:-1]] == ["Good", " day"]
    assert deltas[-1].finish_reason is FinishReason.length
    cost = deltas[-1].usage
    assert cost is not None
    assert (cost.prompt_tokens, cost.completion_tokens, cost.total_tokens) == (7, 2, 9)
    assert not cost.estimated
    assert 0 < cost.first_token_ms <= cost.total_ms


async def test_a_request_says_what_was_asked_for(peer: Peer) -> None:
    peer.answers[CHAT] = [said("Yes.")]
    call = ToolCall(id="c1", name="clock", arguments={"zone": "UTC"})
    messages = [
        ChatMessage(role=Role.system, content="Be brief."),
        ChatMessage(role=Role.user, name="Ann", content="What time is it?"),
        ChatMessage(role=Role.user, name="Bob Smith", content="Yes?"),
        ChatMessage(role=Role.assistant, content=None, tool_calls=[call]),
        ChatMessage(role=Role.tool, content="noon", tool_call_id="c1"),
    ]
    parameters = GenerationParameters(max_new_tokens=9, temperature=0.5, seed=4, stop=["X"])

    async with chat_at(peer.url, key="secret-key") as chat:
        await run_pipeline(chat, messages, parameters, [CLOCK])

    (asked,) = peer.requests
    assert asked.headers["authorization"] == "Bearer secret-key"
    body = asked.body
    assert body["model"] == "m"
    assert body["messages"][1] == {"role": "user", "name": "Ann", "content": "What time is it?"}
    assert body["messages"][2] == {"role": "user", "content": "Yes?"}  # names have no blanks there
    written = body["messages"][3]["tool_calls"][0]["function"]
    assert (written["name"], json.loads(written["arguments"])) == ("clock", {"zone": "UTC"})
    assert body["messages"][4] == {"role": "tool", "content": "noon", "tool_call_id": "c1"}
    assert body["tools"][0]["function"]["name"] == "clock"
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (9, 0.5, 4)
    assert body["stop"] == ["X"]
    assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_thinking_is_apart_from_content(peer: Peer, key: str) -> None:
    pieces = [chunk({key: "Hm."}), chunk({"content": "Yes."}), chunk(finish_reason="stop")]
    peer.answers[CHAT] = [stream_of(*pieces, usage(1, 1))]

    answer = await ask(peer, enable_thinking=True)

    assert (answer.thinking, answer.content) == ("Hm.", "Yes.")
    assert peer.requests[0].body["chat_template_kwargs"] == {"enable_thinking": True}


async def test_calls_are_put_together_from_their_pieces(peer: Peer) -> None:
    def piece(index: int, **function: str) -> str:
        call: dict[str, Any] = {"index": index, "function": function}
        return chunk({"tool_calls": [call | ({"id": f"c{index}"} if "name" in function else {})]})

    peer.answers[CHAT] = [
        stream_of(
            piece(0, name="clock", arguments=""),
            piece(0, arguments='{"zone": "U'),
            piece(0, arguments='TC"}'),
            piece(1, name="dice", arguments="{}"),
            chunk(finish_reason="tool_calls"),
            usage(1, 1),
        )
    ]

    async with chat_at(peer.url) as chat:
        deltas = [d async for d in chat.stream(user(), GenerationParameters(), tools=[CLOCK])]

    calls = [delta.tool_call for delta in deltas if delta.tool_call]
    assert [(c.id, c.name, c.arguments) for c in calls] == [
        ("c0", "clock", {"zone": "UTC"}),
        ("c1", "dice", {}),
    ]
    pieces = [delta.tool_call_delta for delta in deltas if delta.tool_call_delta]
    assert "".join(one.arguments for one in pieces if one.index == 0) == '{"zone": "UTC"}'
    assert [(one.id, one.name) for one in pieces if one.name] == [("c0", "clock"), ("c1", "dice")]
    assert deltas[-1].finish_reason is FinishReason.tool_calls


async def test_a_call_that_was_cut_off_is_shown_as_it_was_written(peer: Peer) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "clock", "arguments": '{"zone": "U'}}
    pieces = [chunk({"tool_calls": [call]}), chunk(finish_reason="length"), usage(1, 1)]
    peer.answers[CHAT] = [stream_of(*pieces)]

    answer = await ask(peer, tools=[CLOCK])

    assert not answer.tool_calls
    assert 'clock\n{"zone": "U' in answer.content
    assert answer.finish_reason is FinishReason.length


async def test_log_probabilities_are_passed_on(peer: Peer) -> None:
    others = [{"token": t, "logprob": p, "bytes": None} for t, p in (("Yes", -0.1), ("No", -3.0))]
    token = {"token": "Yes", "logprob": -0.1, "bytes": [89, 101, 115], "top_logprobs": others}
    pieces = [chunk({"content": "Yes"}, logprobs={"content": [token]}), chunk(finish_reason="stop")]
    peer.answers[CHAT] = [stream_of(*pieces, usage(1, 1))]

    async with chat_at(peer.url) as chat:
        parameters = GenerationParameters(logprobs=True, top_logprobs=1)
        deltas = [delta async for delta in chat.stream(user(), parameters)]

    (found,) = [one for delta in deltas for one in delta.logprobs]
    assert (found.token, found.logprob) == ("Yes", -0.1)
    assert [one.token for one in found.top_logprobs] == ["Yes"]
    body = peer.requests[0].body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)


async def test_several_answers_are_several_requests(peer: Peer) -> None:
    peer.answers[CHAT] = [said("One."), said("Two."), said("Three.")]

    async with chat_at(peer.url) as chat:
        stream = chat.stream(user(), GenerationParameters(n=3, seed=5))
        deltas = [delta async for delta in stream]

    texts = {i: "".join(d.content for d in deltas if d.index == i) for i in range(3)}
    assert sorted(texts.values()) == ["One.", "Three.", "Two."]
    assert sorted(one.body["seed"] for one in peer.requests) == [5, 6, 7]
    (cost,) = [delta.usage for delta in deltas if delta.usage]
    assert (cost.prompt_tokens, cost.completion_tokens) == (5, 6)


@pytest.mark.parametrize(
    ("kind", "parameter", "value"),
    [
        ("openai", "top_k", 5),
        ("openai", "enable_thinking", True),
        ("ollama", "min_p", 0.1),
        ("ollama", "tool_choice", {"mode": "required"}),
        ("transformers", "logprobs", True),
        ("transformers", "response_format", {"type": "json_object"}),
    ],
)
async def test_what_a_server_would_overlook_is_refused_by_name(
    peer: Peer, kind: str, parameter: str, value: object
) -> None:
    asked: dict[str, Any] = {parameter: value}
    with pytest.raises(InputError, match=f"`{parameter}`.*`there`"):
        await ask(peer, kind=kind, **asked)

    assert not peer.requests


@pytest.mark.parametrize("token", ["abc", "-1", "1.5", "", "²", "9" * 5000])
async def test_a_bias_on_what_is_no_token_is_never_sent(
    peer: Peer, llama_folder: Path, token: str
) -> None:
    settings = {"kind": "llama.cpp", "tokenizer": str(llama_folder)}
    with pytest.raises(InputError, match=r"`logit_bias` names .* ids from 0 to"):
        async with chat_at(peer.url, **settings) as chat:
            await run_pipeline(chat, user(), GenerationParameters(logit_bias={token: -100}))

    assert not peer.requests


async def test_a_bias_is_sent_where_no_vocabulary_is_known(peer: Peer) -> None:
    peer.answers[CHAT] = [said("Yes.")]
    await ask(peer, logit_bias={"999999": -100})
    with pytest.raises(InputError, match=r"`logit_bias` names 'abc'.* numbers from 0"):
        await ask(peer, logit_bias={"abc": -100})

    assert [asked.body["logit_bias"] for asked in peer.requests] == [{"999999": -100}]


async def test_what_a_server_takes_is_sent_even_where_it_changes_nothing(peer: Peer) -> None:
    peer.answers[CHAT] = [said("Yes.")]

    await ask(peer)

    body = peer.requests[0].body
    # Servers take what they are not told from the model's own defaults.
    assert (body["top_k"], body["top_p"], body["temperature"]) == (0, 1, 0)
    assert (body["min_p"], body["repetition_penalty"]) == (0, 1)
    assert "logprobs" not in body
    assert "response_format" not in body


async def test_closing_a_stream_hangs_up(peer: Peer) -> None:
    async def slowly() -> None:
        await asyncio.sleep(0.01)

    pieces = [chunk({"content": "more "})] * 2000
    peer.answers[CHAT] = [stream_of(*pieces, between=slowly)]
    factory = factory_of(peer.url)
    async with factory.chat("there/m") as chat:
        stream = cast("AsyncGenerator[ChatDelta]", chat.stream(user(), GenerationParameters()))
        async with aclosing(stream):
            await anext(stream)
            assert factory.stats().active_streams == 1
            assert factory.stats().remote_streams == {"there": 1}

        assert factory.stats().active_streams == 0
        async with asyncio.timeout(5):
            await peer.hung_up.wait()
    await factory.aclose()


async def test_cancelling_the_reader_before_the_first_piece_hangs_up(peer: Peer) -> None:
    asked = asyncio.Event()

    async def never() -> None:
        asked.set()
        await asyncio.Event().wait()

    peer.answers[CHAT] = [stream_of(before=never)]
    task = asyncio.create_task(ask(peer))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_characters_that_are_no_text_become_a_mark(peer: Peer) -> None:
    halves = 'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n'
    pieces = [halves, chunk({"content": "b\0"}), chunk(finish_reason="stop"), usage(1, 1)]
    peer.answers[CHAT] = [stream_of(*pieces)]

    answer = await ask(peer)

    assert answer.content == "a\ufffdb\ufffd"


async def test_a_server_that_is_not_there_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(RemoteError, match=r"`there` cannot be reached at http.*`url`"):
        async with chat_at(url, retries=0) as chat:
            await run_pipeline(chat, user(), GenerationParameters())


async def test_a_refused_key_is_no_fault_of_the_caller_and_is_not_shown(peer: Peer) -> None:
    told = '{"error": {"message": "Incorrect API key: sk-very-secret", "code": "invalid_api_key"}}'

    error = await failure(peer, Reply(401, pieces=[told]), key="sk-very-secret")

    assert isinstance(error, RemoteError)
    assert "`key`" in str(error)
    assert "sk-very-secret" not in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, pieces=['{"error": "No."}']),
        Reply(404, pieces=['{"error": "Nothing."}']),
        Reply(pieces=["<html>"], headers={"Content-Type": "text/html"}),
        Reply(0),
        stream_of(event({"choices": [3]})),
        Reply(400, pieces=['{"error": {"message": "context length", "code": 400}}']),
    ],
)
async def test_nobody_is_sent_to_settings_that_a_server_of_the_lab_does_not_have(
    peer: Peer, reply: Reply
) -> None:
    peer.answers[CHAT] = [reply]
    kind, url = RemoteKind.llama_cpp, f"{peer.url}/v1"
    client = RemoteClient(
        RemoteEndpoint(name="llama", url=url, kind=kind, retries=0), advice=OF_THE_LAB
    )
    model = Model(id="llama", task=Task.chat, source="llama.gguf", context_length=1000)
    chat = RemoteChat(model, "llama", client=client, counter=Estimate())

    with pytest.raises(LabError, match=r"unload the model|a longer one") as caught:
        await run_pipeline(chat, user(), GenerationParameters())
    await client.aclose()

    assert "remotes.endpoints" not in str(caught.value)
    assert "of the endpoint" not in str(caught.value)


async def test_a_model_that_is_gone_is_unknown(peer: Peer) -> None:
    error = await failure(peer, Reply(404, pieces=['{"error": "model `m` does not exist"}']))

    assert isinstance(error, UnknownModelError)
    assert "`there` has no model `m`" in str(error)


async def test_a_wrong_address_says_which_setting_is_wrong(peer: Peer) -> None:
    error = await failure(peer, Reply(404, pieces=["<html>Not Found</html>"]))

    assert isinstance(error, RemoteError)
    assert "`url`" in str(error)


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 2000, "n_ctx": 1000}},
        {"error": {"message": "...", "code": "context_length_exceeded"}},
        {"message": "This model's maximum context length is 1000 tokens."},
    ],
)
async def test_a_prompt_that_is_too_long_is_told_as_such(peer: Peer, told: object) -> None:
    error = await failure(peer, Reply(400, pieces=[json.dumps(told)]))

    assert isinstance(error, ContextLengthError)


async def test_another_bad_request_is_passed_on(peer: Peer) -> None:
    error = await failure(peer, Reply(422, pieces=['{"detail": "Unexpected fields: {x}"}']))

    assert isinstance(error, InputError)
    assert "Unexpected fields: {x}" in str(error)


async def test_a_busy_server_says_when_to_come_back(peer: Peer) -> None:
    error = await failure(peer, Reply(429, {"Retry-After": "70"}, ["slow down"]), retries=2)

    assert isinstance(error, RateLimitError)
    assert error.retry_after_s == 70
    assert len(peer.requests) == 1  # too long to wait for


@pytest.mark.parametrize(
    "first",
    [
        Reply(429, {"Retry-After": "0"}, ["{}"]),
        Reply(503, {"Retry-After": "0"}, ["loading"]),
        Reply(502, {"Retry-After": "0"}),
        Reply(0),
    ],
)
async def test_what_failed_before_the_first_piece_is_sent_again(peer: Peer, first: Reply) -> None:
    peer.answers[CHAT] = [first, said("Yes.")]

    assert (await ask(peer)).content == "Yes."
    assert len(peer.requests) == 2


async def test_what_cannot_succeed_is_sent_once(peer: Peer) -> None:
    await failure(peer, Reply(400, pieces=["no"]), retries=2)

    assert len(peer.requests) == 1


async def test_trying_again_ends(peer: Peer) -> None:
    error = await failure(peer, Reply(503, {"Retry-After": "0"}, ["away"]), retries=2)

    assert isinstance(error, RemoteError)
    assert len(peer.requests) == 3


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (stream_of(chunk({"content": "Half an"}), breaks=True), "broke off"),
        (stream_of(chunk({"content": "Half an"})), "its last piece did not come"),
        (stream_of(chunk({"content": "Half"}), chunk(finish_reason="abort")), "says `abort`"),
        (stream_of(chunk({"content": "Half"}), event({"error": {"message": "OOM"}})), "OOM"),
        (stream_of(chunk({"content": "Half"}), 'data: {"error": "a "b"}\n\n'), 'a "b"'),
    ],
)
async def test_an_answer_that_breaks_off_is_an_error_and_not_asked_for_again(
    peer: Peer, reply: Reply, why: str
) -> None:
    peer.answers[CHAT] = [reply]
    deltas: list[ChatDelta] = []

    with pytest.raises(RemoteError, match=why):
        async with chat_at(peer.url) as chat:
            deltas += [delta async for delta in chat.stream(user(), GenerationParameters())]

    assert len(peer.requests) == 1


async def test_an_answer_that_stands_still_is_given_up(peer: Peer) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    reply = stream_of(chunk({"content": "Half"}), between=never)

    error = await failure(peer, reply, timeout_s=0.2)

    assert isinstance(error, RemoteError)
    assert "nothing came for 0.2 s" in str(error)


async def test_a_page_where_a_stream_should_be_is_told(peer: Peer) -> None:
    page = Reply(200, {"Content-Type": "text/html"}, ["<html>Welcome to the wiki.</html>"])

    error = await failure(peer, page)

    assert isinstance(error, RemoteError)
    assert "text/html" in str(error)
    assert "Welcome to the wiki" in str(error)


async def test_what_is_no_piece_of_a_completion_is_told(peer: Peer) -> None:
    error = await failure(peer, stream_of(event({"choices": "none"})))

    assert isinstance(error, RemoteError)
    assert "no piece of a chat completion" in str(error)


async def test_models_are_those_that_the_server_lists(peer: Peer) -> None:
    cards = [{"id": "a", "max_model_len": 2048}, {"id": "b", "context_length": 512}]
    peer.answers = {MODELS: [Reply(pieces=[json.dumps({"data": cards})])], CHAT: [said("Yes.")]}
    factory = factory_of(peer.url, models=[], context_length=None)

    await factory.discover()
    names = [model.id for model in factory.models()]
    async with factory.chat("there/b") as chat:
        length = chat.model.context_length
        await run_pipeline(chat, user(), GenerationParameters())
    await factory.aclose()

    assert {"there/a", "there/b"} <= set(names)
    assert factory.resolve("there/a").system_prompt is None
    assert length == 512
    assert factory.stats().prompt_tokens == 5
    assert factory.stats().models_loaded == 0


async def test_a_model_can_be_named_before_anybody_listed_it(peer: Peer) -> None:
    peer.answers[MODELS] = [Reply(pieces=[json.dumps({"data": [{"id": "a"}]})])]
    factory = factory_of(peer.url, models=[])

    async with factory.chat("there/a") as chat:
        assert chat.model.context_length == 1000
    with pytest.raises(UnknownModelError, match="there/a"):
        async with factory.chat("there/other"):
            pass
    await factory.aclose()


async def test_a_server_that_is_away_leaves_the_list_without_its_models() -> None:
    factory = factory_of("http://127.0.0.1:9", models=[])

    await factory.discover()

    assert "lab-tiny" in {model.id for model in factory.models()}
    await factory.aclose()


async def test_a_server_that_is_slow_holds_no_list_up_and_is_asked_once(peer: Peer) -> None:
    slow = asyncio.Event()

    async def at_last() -> None:
        await slow.wait()

    listed = json.dumps({"data": [{"id": "a"}]})
    peer.answers[MODELS] = [Reply(pieces=[listed], before=at_last)]
    factory = factory_of(peer.url, models=[])

    async with asyncio.timeout(9):
        await asyncio.gather(factory.discover(), factory.discover())
    before = {model.id for model in factory.models()}
    slow.set()
    await factory.discover()
    after = {model.id for model in factory.models()}
    await factory.aclose()

    assert after - before == {"there/a"}
    assert len(peer.requests) == 1


async def test_a_window_that_is_told_nowhere_names_the_setting(peer: Peer) -> None:
    peer.answers[MODELS] = [Reply(pieces=[json.dumps({"data": [{"id": "m"}]})])]

    with pytest.raises(RemoteError, match=r"`m`.*`context_length`"):
        async with chat_at(peer.url, context_length=None):
            pass


async def test_an_older_llama_cpp_tells_its_window_elsewhere(peer: Peer) -> None:
    card = {"id": "m", "meta": {"n_ctx_train": 131072}}
    props = {"default_generation_settings": {"n_ctx": 4096}}
    peer.answers = {
        MODELS: [Reply(pieces=[json.dumps({"data": [card]})])],
        "/props": [Reply(pieces=[json.dumps(props)])],
    }

    async with chat_at(peer.url, kind="llama.cpp", context_length=None) as chat:
        assert chat.model.context_length == 4096


async def test_the_default_profile_may_be_of_another_server(peer: Peer) -> None:
    peer.answers[CHAT] = [said("Yes.")]
    endpoint = {"name": "there", "url": f"{peer.url}/v1", "context_length": 9, "models": ["m/x"]}
    remotes = RemotesConfig.model_validate({"endpoints": [endpoint]})
    factory = pipeline_factory(ChatConfig(model="there/m/x"), EmbeddingConfig(), remotes=remotes)

    async with factory.chat("default") as chat:
        await run_pipeline(chat, user(), GenerationParameters())
    await factory.aclose()

    assert peer.requests[0].body["model"] == "m/x"
    assert factory.resolve("default").system_prompt


def test_two_endpoints_of_one_name_are_refused() -> None:
    endpoint = {"name": "there", "url": "http://there"}
    remotes = RemotesConfig.model_validate({"endpoints": [endpoint, endpoint]})

    with pytest.raises(ConfigError, match="`there`"):
        pipeline_factory(ChatConfig(), EmbeddingConfig(), remotes=remotes)


async def test_a_model_elsewhere_takes_no_memory_to_be_managed(peer: Peer) -> None:
    factory = factory_of(peer.url)

    with pytest.raises(InputError, match="takes no memory here"):
        await factory.load("there/m")


async def test_the_key_of_a_file_is_read_for_every_request(peer: Peer, tmp_path: Path) -> None:
    peer.answers[CHAT] = [said("Yes.")]
    file = tmp_path / "key"

    async with chat_at(peer.url, key_file=str(file)) as chat:
        for key in ("first", "second"):
            file.write_text(f"{key}\n")
            await run_pipeline(chat, user(), GenerationParameters())
        file.unlink()
        with pytest.raises(ConfigError, match="`there`"):
            await run_pipeline(chat, user(), GenerationParameters())

    keys = [asked.headers["authorization"] for asked in peer.requests]
    assert keys == ["Bearer first", "Bearer second"]


async def test_what_a_server_had_in_its_cache_is_passed_on(peer: Peer) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 1}
    told = event({"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": 8}}})
    peer.answers[CHAT] = [stream_of(chunk({"content": "Hi"}, finish_reason="stop"), told)]

    details = (await ask(peer)).usage.prompt_tokens_details

    assert details is not None
    assert details.cached_tokens == 8


async def test_a_server_that_tells_no_usage_has_it_estimated(peer: Peer) -> None:
    peer.answers[CHAT] = [stream_of(chunk({"content": "Good day"}), chunk(finish_reason="stop"))]

    answer = await ask(peer)

    assert answer.usage.estimated
    assert answer.usage.completion_tokens == 4  # half a token a byte


async def test_an_estimate_errs_on_the_high_side_and_learns(peer: Peer) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 20
    peer.answers[CHAT] = [said("Yes.", n_prompt=len(text) // 4)]

    async with chat_at(peer.url) as chat:
        before = chat.count_tokens(user(text))
        await run_pipeline(chat, user(text), GenerationParameters())
        after = chat.count_tokens(user(text))

    assert before > 400
    assert len(text) // 4 <= after < before * 0.7


async def test_tokens_are_counted_by_the_tokenizer_of_the_settings(
    peer: Peer, llama_folder: Path
) -> None:
    peer.answers[CHAT] = [said("Yes.", n_prompt=30)]

    async with chat_at(peer.url, tokenizer=str(llama_folder)) as chat:
        n_text = chat.count_text("kamitore")
        before = chat.count_tokens(user("kamitore"))
        await run_pipeline(chat, user("kamitore"), GenerationParameters())
        after = chat.count_tokens(user("kamitore"))

    assert n_text < before
    assert after >= 30  # what the template adds was learnt


async def test_pictures_are_sent_and_counted(peer: Peer, llama_folder: Path) -> None:
    peer.answers[CHAT] = [said("A dog.", n_prompt=330)]
    picture = BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    image = MessageImage(data=b64encode(picture.getvalue()).decode())
    asked = [ChatMessage(role=Role.user, content="What is it?", images=[image])]

    async with chat_at(peer.url, tokenizer=str(llama_folder)) as chat:
        before = chat.count_tokens(asked)
        await run_pipeline(chat, asked, GenerationParameters())
        after = chat.count_tokens(asked)

    shown, text = peer.requests[0].body["messages"][0]["content"]
    assert shown["image_url"]["url"] == f"data:image/png;base64,{image.data}"
    assert text == {"type": "text", "text": "What is it?"}
    assert before > 2048
    assert 330 <= after < 400


@pytest.mark.parametrize("data", ["no base64!", b64encode(b"no picture").decode()])
async def test_what_is_no_picture_is_refused(peer: Peer, data: str) -> None:
    asked = [ChatMessage(role=Role.user, content="?", images=[MessageImage(data=data)])]

    async with chat_at(peer.url) as chat:
        with pytest.raises(InputError, match="`images`"):
            await run_pipeline(chat, asked, GenerationParameters())

    assert not peer.requests


async def test_a_tokenizer_that_is_none_is_told(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(ModelLoadError, match="`there`"):
        async with chat_at(peer.url, tokenizer=str(tmp_path)):
            pass
