"""Chat models that see, beside what transformers itself answers."""

import gc
import json
import weakref
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.random_llama import END_OF_TURN, TURN
from lab.errors import DocumentTooLargeError, InputError, MediaTypeError, ModelLoadError
from lab.pipelines import run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.description import described
from lab.pipelines.load import foretell_chat, load_chat
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message_image import MessageImage
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from tests.tiny_vision import MARKERS, base64, picture, save_idefics, save_llava

ARCHITECTURES: dict[str, Callable[[Path], Path]] = {"llava": save_llava, "idefics": save_idefics}
CONFIG = ChatConfig(threads=1, device="cpu", prefill_tokens=48)
GREEDY = GenerationParameters(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ARCHITECTURES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
async def chat(folder: Path) -> AsyncIterator[TransformersChat]:
    chat = load_chat(Model(id="sees", task=Task.chat, source=str(folder)), CONFIG)
    yield chat
    chat.close()


async def test_what_left_still_counts_pictures_and_holds_no_weights(folder: Path) -> None:
    chat = load_chat(Model(id="sees", task=Task.chat, source=str(folder)), CONFIG)
    messages = [asked("What is this?", picture("red"))]
    await run_pipeline(chat, messages, GREEDY)
    n_tokens = chat.count_tokens(messages)
    lives = [weakref.ref(weight) for weight in chat._network.parameters()]

    chat.close()
    gc.collect()

    assert not [one for one in lives if one() is not None]
    assert chat.count_tokens(messages) == n_tokens


def asked(text: str, *pictures: bytes) -> ChatMessage:
    images = [MessageImage(data=base64(one)) for one in pictures]
    return ChatMessage(role=Role.user, content=text, images=images)


def expected(folder: Path, messages: list[ChatMessage]) -> tuple[int, str]:
    """Return the tokens of the prompt and the greedy answer of transformers' own `generate`."""
    network: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
    pieces = [
        {
            "role": m.role.value,
            "content": [{"type": "image"} for _ in m.images]
            + [{"type": "text", "text": m.content}],
        }
        for m in messages
    ]
    prompt = processor.apply_chat_template(pieces, add_generation_prompt=True)
    images = [Image.open(BytesIO(content)) for m in messages for content in contents(m)]
    seen = {"images": [images]} if images else {}
    made = processor(text=[prompt], **seen, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        output = network.generate(**made, max_new_tokens=12, do_sample=False)
    n_tokens = made["input_ids"].shape[1]
    return n_tokens, plain(processor.tokenizer.decode(output[0, n_tokens:]))


def plain(text: str) -> str:
    """Return what a random model wrote without the markers of its prompt."""
    for marker in (*MARKERS, TURN, END_OF_TURN):
        text = text.replace(marker, "")
    return text


def contents(message: ChatMessage) -> list[bytes]:
    return [b64decode(image.data) for image in message.images]


@pytest.mark.parametrize("n_pictures", [1, 3])
async def test_it_answers_as_transformers_does(
    folder: Path, chat: TransformersChat, n_pictures: int
) -> None:
    pictures = [picture(c, 40 + 9 * i) for i, c in enumerate(["red", "blue", "green"][:n_pictures])]
    messages = [asked("what is ka mi to", *pictures)]
    n_tokens, text = expected(folder, messages)
    answer = await run_pipeline(chat, messages, GREEDY)

    assert answer.usage.prompt_tokens == n_tokens == chat.count_tokens(messages)
    assert plain(answer.content) == text


async def test_pictures_differ_and_their_order_counts(chat: TransformersChat) -> None:
    async def answer(*colours: str) -> str:
        messages = [asked("ka mi to", *(picture(colour) for colour in colours))]
        return (await run_pipeline(chat, messages, GREEDY)).content

    assert len({await answer("red"), await answer("blue"), await answer()}) == 3
    assert await answer("red", "blue") != await answer("blue", "red")
    assert await answer("red") == await answer("red")


async def test_a_conversation_goes_on_from_a_picture_that_was_seen(
    folder: Path, chat: TransformersChat
) -> None:
    messages = [asked("ka mi to re", picture("red", 90, 60))]
    ann = UUID(int=1)
    first = await run_pipeline(chat, messages, GREEDY, owner=ann)
    messages += [ChatMessage(role=Role.assistant, content=first.content), asked("sun la vo")]
    _, text = expected(folder, messages)
    second = await run_pipeline(chat, messages, GREEDY, owner=ann)
    other = [asked("ka mi to re", picture("blue", 90, 60)), *messages[1:]]
    third = await run_pipeline(chat, other, GREEDY, owner=ann)

    assert plain(second.content) == text
    reused = [one.usage.prompt_tokens_details for one in (second, third)]
    assert reused[0] is not None
    assert reused[0].cached_tokens >= first.usage.prompt_tokens
    assert reused[1] is not None
    assert reused[1].cached_tokens < first.usage.prompt_tokens  # not another's picture


async def test_it_answers_without_a_picture_too(folder: Path, chat: TransformersChat) -> None:
    messages = [asked("ka mi to")]
    answer = await run_pipeline(chat, messages, GREEDY)
    assert plain(answer.content) == expected(folder, messages)[1]


async def test_what_it_takes_of_memory_was_foretold(folder: Path, chat: TransformersChat) -> None:
    model = Model(id="sees", task=Task.chat, source=str(folder))
    need = foretell_chat(model, CONFIG).needs[Quantization.none]

    assert chat.n_bytes == pytest.approx(need.weights, rel=0.05)
    assert described(model).vision is True


def bomb() -> bytes:
    file = BytesIO()
    Image.new("1", (12_000, 9_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", InputError, "0 bytes"),
        (b"hello", MediaTypeError, "no picture"),
        (picture("red")[:-40], MediaTypeError, "damaged"),
        (bomb(), DocumentTooLargeError, "too many pixels"),
    ],
    ids=["empty", "text", "cut", "bomb"],
)
async def test_what_is_no_picture_is_refused(
    chat: TransformersChat, content: bytes, error: type[InputError], said: str
) -> None:
    with pytest.raises(error, match=said):
        await run_pipeline(chat, [asked("ka", content)], GREEDY)
    assert (await run_pipeline(chat, [asked("ka")], GREEDY)).content


def test_a_model_that_places_pictures_in_several_dimensions_is_refused(tmp_path: Path) -> None:
    folder = save_llava(tmp_path / "llava")
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["rope_parameters"]["mrope_section"] = [2, 1, 1]
    file.write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match=r"several dimensions.*vLLM"):
        load_chat(Model(id="sees", task=Task.chat, source=str(folder)), CONFIG)
