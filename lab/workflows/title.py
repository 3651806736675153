"""Name a conversation by its first exchange."""

from collections.abc import Sequence

from lab.messages import transcript
from lab.pipelines import run_pipeline
from lab.prompts import TITLE_SYSTEM
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.role import Role
from lab.schemas.usage import Usage

MAX_TITLE = 60
MAX_TITLE_TOKENS = 24


async def write_title(
    chat: ChatPipeline, exchange: Sequence[ChatMessage]
) -> tuple[str | None, Usage | None]:
    """
    Return a title for the exchange, and what it cost.

    The title is None when the model writes none; both are when the exchange does not fit.
    """
    messages = [
        ChatMessage(role=Role.system, content=TITLE_SYSTEM),
        ChatMessage(role=Role.user, content=transcript(exchange)),
    ]
    n_tokens = chat.count_tokens(messages)
    if n_tokens + MAX_TITLE_TOKENS > (chat.model.context_length or 0):
        return None, None
    parameters = GenerationParameters(max_new_tokens=MAX_TITLE_TOKENS, seed=0)
    answer = await run_pipeline(chat, messages, parameters)
    title = " ".join(answer.content.split()).strip("\"'. ")
    return title[:MAX_TITLE] or None, answer.usage
