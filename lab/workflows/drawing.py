"""
Make a picture, or change the last one of the conversation.

    START -> remember -> assemble -> word -> draw -> record -> END

`word` lets the model say in a form what the picture shall show, `draw` makes it; the answer is that
sentence, with the picture. What is changed is the picture that comes with the message, else the
last one of the conversation.
"""

from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid5

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime

from lab.errors import InputError, LabError, NotFoundError, ServiceError
from lab.messages import picture_bytes, text_of
from lab.prompts import CHANGE_INSTRUCTION, PICTURE_BEFORE, PICTURE_INSTRUCTION
from lab.schemas.chat_message import ChatMessage
from lab.schemas.event_type import EventType
from lab.schemas.image import Image
from lab.schemas.image_part import ImagePart
from lab.schemas.image_request import ImageRequest
from lab.schemas.intent import Intent
from lab.schemas.role import Role
from lab.workflows import chat
from lab.workflows.asking import (
    ask_form,
    instructed,
    object_of,
    room_for,
    spend,
    tell,
    tell_stage,
    tell_text,
)
from lab.workflows.context import ChatContext
from lab.workflows.images import MAX_SEED, Upload
from lab.workflows.intents import tell_intent
from lab.workflows.window import split_question

MOST_PROMPT_CHARACTERS: Final = 300
MOST_PROMPT_TOKENS: Final = 200
FORM: Final = object_of(
    prompt={"type": "string", "minLength": 1, "maxLength": MOST_PROMPT_CHARACTERS}
)
SEARCHED: Final = 200
"""Messages of a conversation in which the last picture is looked for."""


class State(chat.State, total=False):
    """What flows along the edges."""

    prompt: str
    """What the picture shall show."""

    edits: bool
    """Whether it is made from another."""

    made: dict[str, Any]
    """`Image` dump."""


async def assemble(state: State, runtime: Runtime[ChatContext]) -> chat.State:
    """Choose what the model sees while it words the picture."""
    context = runtime.context.without_foreign()
    longest = max(PICTURE_INSTRUCTION, CHANGE_INSTRUCTION, key=len)
    # What was said with the picture that may be changed is no longer than what words one.
    context = _shown(context)
    room = room_for(context, longest, MOST_PROMPT_TOKENS) + MOST_PROMPT_CHARACTERS // 3
    return await chat.assembled(state, context, room)


async def word(state: State, runtime: Runtime[ChatContext]) -> State:
    """Let the model say what the picture shall show."""
    context = runtime.context
    told = tell_stage(context, "word", 0, 1)
    edits, before = await _edits(context), ""
    if edits:
        before = (await last_picture(context))[1]
    prompt = instructed(state["window"], CHANGE_INSTRUCTION if edits else PICTURE_INSTRUCTION)
    if before:  # what was said with the picture is no instruction
        prompt.append(ChatMessage(role=Role.user, content=PICTURE_BEFORE.format(before=before)))
    worded, spent = {"prompt": ""}, list[dict[str, Any]]()
    try:
        worded, answer = await ask_form(context, prompt, MOST_PROMPT_TOKENS, FORM)
        spent = spend(context, answer)
    except ServiceError as error:  # the user's own words, then
        told += tell(context, EventType.thinking, text=f"(not worded: {error})\n\n")
    text = " ".join(str(worded["prompt"]).split())[:MOST_PROMPT_CHARACTERS] or _question(context)
    told += tell_stage(context, "word", 1, 1)
    return {"prompt": text, "edits": edits, "made": {}, "spent": spent, "told": told}


async def draw(state: State, runtime: Runtime[ChatContext]) -> State:
    """Make the picture, and answer with it."""
    context, prompt = runtime.context, state["prompt"]
    upload = Upload((await last_picture(context))[0]) if state["edits"] else None
    image = await _made(context, prompt, upload)
    told = tell(context, EventType.image, image=image.model_dump(mode="json"))
    context.recorder.attach([ImagePart(file_id=image.file_id)])
    answer = tell_text(context, prompt)
    return {
        "made": image.model_dump(mode="json"),
        "answer": answer.model_dump(mode="json"),
        "told": told,
    }


async def record(state: State, runtime: Runtime[ChatContext]) -> chat.State:
    """Store the answer with the picture."""
    image = Image.model_validate(state["made"])
    runtime.context.recorder.attach([ImagePart(file_id=image.file_id)])
    return await chat.record(state, runtime)


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = chat.begin_graph(State, record)
    graph.add_node("assemble", assemble)
    graph.add_node("word", word)
    graph.add_node("draw", draw)
    graph.add_edge("remember", "assemble")
    graph.add_edge("assemble", "word")
    graph.add_edge("word", "draw")
    graph.add_edge("draw", "record")
    return graph


def _shown(context: ChatContext) -> ChatContext:
    """Return the run without the pictures of its message, where the model reads text alone."""
    if context.chat.model.vision is not False:
        return context
    messages = [one.model_copy(update={"images": []}) for one in context.turn.messages]
    return replace(context, turn=context.turn.model_copy(update={"messages": messages}))


async def _made(context: ChatContext, prompt: str, upload: Upload | None) -> Image:
    """
    Return the picture once it is stored, telling its steps.

    One that was stored before its step could be, as when the process was killed, is not made again.
    """
    assert context.images is not None, "the lab makes pictures, or the turn was refused"
    id = uuid5(context.resumed.run_id if context.resumed else context.run_id, "picture")
    with suppress(NotFoundError):
        async with context.stores() as stores:
            return await stores.images.get(id)
    await context.chat.let_go()
    seed = (context.parameters.seed or 0) % (MAX_SEED + 1)
    request = ImageRequest(prompt=prompt, seed=seed)
    image: Image | None = None
    making = context.images.make(context.owner_id, request, upload, id=id)
    async with aclosing(making) as events:
        async for event in events:
            image = event.image or image
            tell_stage(context, "draw", event.step, event.n_steps)
    assert image is not None, "who makes a picture ends with it"
    return image


async def _edits(context: ChatContext) -> bool:
    """Return whether a picture shall be changed; where nobody looked, the model is asked."""
    _, _, question = split_question(context.turn.messages)
    if any(message.images for message in question):
        return True
    intent = context.route.intent
    if intent is None:
        try:
            found = await tell_intent(context.chat, _question(context), context.owner_id)
        except LabError:  # a new picture needs nobody to look
            return False
        intent, _, answer = found
        if answer is not None:
            spend(context, answer)
    return intent is Intent.image_editing


def _question(context: ChatContext) -> str:
    _, _, question = split_question(context.turn.messages)
    return " ".join(message.content or "" for message in question)


async def last_picture(context: ChatContext) -> tuple[bytes, str]:
    """
    Return the picture that is to be changed, and what was said with it.

    Raises
    ------
    InputError
        If there is none.
    """
    _, _, question = split_question(context.turn.messages)
    images = [image for message in question for image in message.images]
    if images:
        return picture_bytes(images[-1]), ""
    chat_id = context.turn.conversation_id
    if chat_id is not None:
        async with context.stores() as stores:
            for message in reversed(await stores.messages.list(chat_id, SEARCHED)):
                if files := [p.file_id for p in message.parts if isinstance(p, ImagePart)]:
                    return await stores.files.content(UUID(str(files[-1]))), text_of(message.parts)
    raise InputError(
        "There is no picture here that could be changed: ask for one first, in a conversation, or "
        "send one with the message."
    )
