"""How a summary is asked for, read, and joined."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from lab.errors import ModelLoadError
from lab.prompts import SUMMARY_SYSTEM
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.task import Task
from lab.schemas.tool import Tool
from lab.schemas.usage import Usage
from lab.workflows.summary import joined, summarise


class Copyist:
    """A chat model of so many words that answers with what it was given, or with one text."""

    def __init__(
        self,
        window: int | None = 400,
        answer: str | None = None,
        end: FinishReason = FinishReason.stop,
        *,
        is_demo: bool = False,
    ) -> None:
        self.model = Model(
            id="copyist", task=Task.chat, source="here", context_length=window, is_demo=is_demo
        )
        self.asked: list[tuple[str, str]] = []
        self._answer, self._end = answer, end

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Look at nothing: it reads text."""

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        return sum(len((message.content or "").split()) for message in messages)

    def count_text(self, text: str) -> int:
        return len(text.split())

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        system, said = (message.content or "" for message in messages)
        assert [message.role for message in messages] == [Role.system, Role.user]
        assert parameters.max_new_tokens is not None
        window = self.model.context_length or 0
        assert self.count_tokens(messages) + parameters.max_new_tokens <= window
        self.asked.append((system, said))
        answer = said if self._answer is None else self._answer
        n_prompt, n_answer = self.count_tokens(messages), len(answer.split())
        usage = Usage(
            prompt_tokens=n_prompt, completion_tokens=n_answer, total_tokens=n_prompt + n_answer
        )
        yield ChatDelta(content=answer)
        yield ChatDelta(finish_reason=self._end, usage=usage)


async def points(chat: Copyist, lines: Sequence[str]) -> list[str]:
    return (await summarise(chat, lines, SummaryStyle.key_points)).text.splitlines()


async def test_a_demonstration_is_asked_in_the_words_of_its_training() -> None:
    chat = Copyist(is_demo=True)

    assert await points(chat, ["user: Bo barks."]) == ["user: Bo barks."]
    assert chat.asked == [(SUMMARY_SYSTEM, "user: Bo barks.")]


@pytest.mark.parametrize(
    ("style", "words"),
    [
        (SummaryStyle.key_points, "one point a line"),
        (SummaryStyle.summary, "one short paragraph"),
        (SummaryStyle.brief, "one sentence"),
        (SummaryStyle.master, "by topic"),
    ],
)
async def test_each_style_is_asked_for_in_its_own_words(style: SummaryStyle, words: str) -> None:
    chat = Copyist()
    await summarise(chat, ["user: Bo barks."], style)

    ((system, _),) = chat.asked
    assert words in system
    assert "names, numbers and dates" in system


async def test_what_does_not_fit_the_window_is_summarised_in_pieces_and_nothing_lost() -> None:
    lines = [f"user: {word} {'and ' * 60}{word}." for word in ("one", "two", "three", "four")]
    chat = Copyist(window=300)

    written = await points(chat, lines)

    assert len(chat.asked) > 1
    assert written == [" ".join(line.split()) for line in lines]


async def test_each_answer_that_a_summary_took_is_counted() -> None:
    lines = [f"user: {'and ' * 100}{i}" for i in range(4)]
    chat = Copyist(window=400)

    written = await summarise(chat, lines, SummaryStyle.key_points)

    assert len(written.usage) == len(chat.asked) > 1
    assert sum(usage.completion_tokens for usage in written.usage) == len(" ".join(lines).split())


async def test_a_message_longer_than_the_window_is_divided() -> None:
    words = [f"w{i}" for i in range(2000)]
    chat = Copyist(window=400)

    written = await points(chat, ["user: " + " ".join(words)])

    assert " ".join(written).split() == ["user:", *words]


async def test_a_word_longer_than_a_window_ends() -> None:
    assert await points(Copyist(window=4), ["x" * 9]) == []


async def test_half_a_line_is_not_kept() -> None:
    chat = Copyist(answer="- Bo barks.\n- Al si", end=FinishReason.length)

    assert await points(chat, ["user: hello"]) == ["- Bo barks."]


@pytest.mark.parametrize("answer", ["- No facts.", "- no facts.\n", "", "\n \n"])
async def test_nothing_worth_telling_is_nothing(answer: str) -> None:
    assert await points(Copyist(answer=answer), ["user: hi"]) == []


async def test_a_model_without_a_known_window_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="names no context length"):
        await points(Copyist(window=None), ["user: hi"])


async def test_lines_that_fit_are_joined_without_the_model_and_the_last_time_counts() -> None:
    chat = Copyist()
    texts = ["- Bo barks.\n- Al sings.", "", "- Cy hums.\n- Bo barks."]

    written = await joined(chat, texts, SummaryStyle.master, most_tokens=50)

    assert written.text.splitlines() == ["- Al sings.", "- Cy hums.", "- Bo barks."]
    assert (chat.asked, list(written.usage)) == ([], [])


async def test_what_is_too_long_is_put_into_fewer_words() -> None:
    chat = Copyist(answer="- All sing.")

    written = await joined(chat, ["- Bo sings. " * 9, "- Al sings."], SummaryStyle.master, 10)

    assert written.text == "- All sing."
    assert [usage.completion_tokens for usage in written.usage] == [3]
    ((system, said),) = chat.asked
    assert "fewer words" in system
    assert said.endswith("- Al sings.")


@pytest.mark.parametrize("is_demo", [True, False])
async def test_what_stays_too_long_loses_its_earliest_lines(is_demo: bool) -> None:
    chat = Copyist(is_demo=is_demo)
    texts = [f"- Number {i}." for i in range(9)]

    written = await joined(chat, texts, SummaryStyle.master, most_tokens=7)

    assert written.text.splitlines() == ["- Number 7.", "- Number 8."]
    assert bool(chat.asked) is not is_demo
