"""Write down what is said, and speak: what is asked is checked before a model is loaded."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO
from uuid import UUID

import numpy as np

from lab.errors import InputError, UnavailableError, nearest
from lab.pipelines import PipelineFactory
from lab.pipelines.speech.asking import Heard, Saying
from lab.pipelines.speech.sound import encode, open_sound
from lab.pipelines.speech.traits import Ears, Voices, ears_of, voices_of
from lab.schemas.speech_config import SpeechConfig
from lab.schemas.speech_request import SpeechRequest
from lab.schemas.task import Task
from lab.schemas.transcription import Transcription
from lab.schemas.transcription_config import TranscriptionConfig
from lab.schemas.transcription_event import TranscriptionEvent
from lab.schemas.transcription_event_type import TranscriptionEventType
from lab.schemas.transcription_request import TranscriptionRequest
from lab.schemas.transcription_segment import TranscriptionSegment

DEFAULT_VOICE = "default"


class Speech:
    """
    Hears and speaks for people; nothing of it is stored.

    Parameters
    ----------
    pipelines : PipelineFactory
        The models.
    hearing : TranscriptionConfig
        The limits of recordings.
    speaking : SpeechConfig
        The limits of texts.
    """

    def __init__(
        self, pipelines: PipelineFactory, hearing: TranscriptionConfig, speaking: SpeechConfig
    ) -> None:
        self._pipelines = pipelines
        self._hearing = hearing
        self._speaking = speaking

    async def transcribe(
        self,
        owner_id: UUID,
        request: TranscriptionRequest,
        file: IO[bytes],
        *,
        translate: bool = False,
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        """
        Yield how far it is, what was understood, and at last all of it.

        Closing the generator stops it before the model's next layer.

        Raises
        ------
        InputError
            If the lab has no such model, it cannot do what is asked for, or the file has no sound.
        MediaTypeError
            If it is no sound that is taken here, or is damaged.
        DocumentTooLargeError
            If it lasts too long.
        ModelLoadError
            If the model cannot be loaded.
        """
        if request.temperature:
            raise InputError(
                "`temperature`: the likeliest words are written down; send 0, or leave it out."
            )
        model = self._pipelines.catalog.doing(Task.transcription, request.model)
        ears = await asyncio.to_thread(ears_of, model)
        _check_understood(model.id, ears, request.language, translate=translate)
        sound = await asyncio.to_thread(open_sound, file, self._hearing.max_seconds)
        told = _Told("translate" if translate else "transcribe", sound.seconds)
        async with self._pipelines.transcription(model.id, owner=owner_id) as pipeline:
            steps = pipeline.transcribe(sound, language=request.language, translate=translate)
            async with aclosing(steps) as heard:
                async for step in heard:
                    yield told.event(step)
        yield told.done()

    async def speak(self, owner_id: UUID, request: SpeechRequest) -> bytes:
        """
        Return a text, spoken, as a file in the format that is asked for.

        Raises
        ------
        InputError
            If the lab has no such model, or it cannot do what is asked for.
        ModelLoadError
            If the model cannot be loaded.
        """
        if not request.input.strip():
            raise InputError("`input`: there is nothing in it that is spoken; send words.")
        if len(request.input) > self._speaking.max_characters:
            raise InputError(
                f"`input`: it has {len(request.input):,} characters, and at most "
                f"{self._speaking.max_characters:,} are spoken at a request "
                "(LAB_SPEECH_MAX_CHARACTERS); send it in parts."
            )
        model = self._pipelines.catalog.doing(Task.speech, request.model)
        voices = await asyncio.to_thread(voices_of, model)
        voice = _voice(request.voice, model.id, voices)
        saying = Saying(request.input, voice, request.speed, request.seed)
        async with (
            self._pipelines.speech(model.id, owner=owner_id) as pipeline,
            aclosing(pipeline.speak(saying)) as parts,
        ):
            waves = [part.wave async for part in parts]
        whole = np.concatenate(waves)
        if not np.isfinite(whole).all():
            raise UnavailableError(f"`{model.id}` made values that are no numbers; it is damaged.")
        return await asyncio.to_thread(encode, whole, voices.rate, request.response_format.value)


class _Told:
    """
    What was told of a recording so far.

    Parameters
    ----------
    task : str
        What is done, as OpenAI calls it.
    duration : float
        Its seconds.
    """

    def __init__(self, task: str, duration: float) -> None:
        self._task = task
        self._duration = round(duration, 2)
        self._segments: list[TranscriptionSegment] = []
        self._language: str | None = None

    def event(self, step: Heard) -> TranscriptionEvent:
        """Return the event of a step."""
        self._language = step.language
        self._segments += step.segments
        return TranscriptionEvent(
            type=(
                TranscriptionEventType.transcript_text_delta
                if step.segments
                else TranscriptionEventType.progress
            ),
            seconds=min(round(step.seconds, 2), self._duration),
            duration=self._duration,
            delta="".join(one.text for one in step.segments) if step.segments else None,
        )

    def done(self) -> TranscriptionEvent:
        """Return the event of the end."""
        transcription = Transcription(
            task=self._task,
            language=self._language,
            duration=self._duration,
            text="".join(one.text for one in self._segments).strip(),
            segments=self._segments,
        )
        return TranscriptionEvent(
            type=TranscriptionEventType.transcript_text_done,
            seconds=self._duration,
            duration=self._duration,
            text=transcription.text,
            transcription=transcription,
        )


def _check_understood(model_id: str, ears: Ears, language: str | None, *, translate: bool) -> None:
    """Refuse what the model cannot do, by name."""
    if translate and not ears.translates:
        raise InputError(
            f"`{model_id}` does not translate; choose a Whisper of several languages, or ask for a "
            "transcription."
        )
    if language is None or language in ears.languages:
        return
    if not ears.languages:
        raise InputError(
            f"`language`: `{model_id}` knows one language only, and takes no choice; leave it out."
        )
    raise InputError(
        f"`language`: `{model_id}` does not know {language!r}.{nearest(language, ears.languages)} "
        f"It knows: {', '.join(ears.languages)}."
    )


def _voice(name: str | None, model_id: str, voices: Voices) -> int:
    """Return the number of a voice, or raise for one that the model does not have."""
    if name is None or name == DEFAULT_VOICE:
        return 0
    if name.isdecimal() and int(name) < voices.n_voices:
        return int(name)
    last = voices.n_voices - 1
    raise InputError(
        f"`voice`: `{model_id}` has no voice {name!r}; there is 0, which is `{DEFAULT_VOICE}`"
        + (f", and 1 to {last}." if last else ".")
    )
