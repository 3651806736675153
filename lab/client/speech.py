"""Speech both ways: what is said in a recording, and text that is spoken."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import InputError, ServiceError
from lab.schemas.sound_format import SoundFormat
from lab.schemas.speech_request import SpeechRequest
from lab.schemas.transcription import Transcription
from lab.schemas.transcription_event import TranscriptionEvent
from lab.schemas.transcription_request import TranscriptionRequest

PATH = "/v1/audio"

OnProgress = Callable[[TranscriptionEvent], object]


@dataclass(frozen=True)
class Speech:
    """
    A text, spoken; a notebook plays it.

    Attributes
    ----------
    text : str
        What was to be spoken.
    content : bytes
        A file of sound.
    format : SoundFormat
        Which.
    """

    text: str
    content: bytes = field(repr=False)
    format: SoundFormat

    def save(self, file: Path | str) -> Path:
        """Write the sound to a file, and return its path."""
        path = Path(file)
        path.write_bytes(self.content)
        return path

    def _repr_html_(self) -> str:
        data = b64encode(self.content).decode()
        return (
            f'<audio controls src="data:audio/{self.format};base64,{data}" '
            f'title="{escape(self.text)}"></audio>'
        )


class Audio:
    """
    Recordings and speech; the lab stores neither.

    Examples
    --------
    In a notebook, which plays it::

        await lab.speak("Good morning.")
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def transcribe(
        self,
        file: Path | str | bytes,
        *,
        translate: bool = False,
        on_progress: OnProgress | None = None,
        **options: Any,
    ) -> Transcription:
        """
        Return what is said in a recording.

        Parameters
        ----------
        file : path or bytes
            WAV, FLAC, OGG or MP3.
        translate : bool
            Whether to write it in English, whatever is spoken.
        on_progress : callable, optional
            Called with each event before the last.
        **options
            Of `TranscriptionRequest`: `language`, `model`.

        Raises
        ------
        InputError
            If there is no such file, it is no sound, too long, or the lab has no model for it.
        ModelLoadError
            If the model cannot be loaded.
        """
        async with aclosing(self.events(file, translate=translate, **options)) as events:
            async for event in events:
                if event.transcription is not None:
                    return event.transcription
                if on_progress is not None:
                    on_progress(event)
        raise ServiceError("The lab sent no transcription; see its log (`lab logs`).")

    async def events(
        self, file: Path | str | bytes, *, translate: bool = False, **options: Any
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        """
        Yield how far the lab is with a recording, and what it understood.

        Closing the generator stops it. Takes what `transcribe` takes.
        """
        request = checked(TranscriptionRequest, stream=True, **options)
        with ExitStack() as stack:
            name, sound = _opened(file, stack)
            stream = self._http.stream(
                f"{PATH}/{'translations' if translate else 'transcriptions'}",
                TranscriptionEvent,
                form=request.model_dump(mode="json", exclude_none=True, exclude_unset=True),
                files={"file": (name, sound)},
            )
            async with aclosing(stream) as events:
                async for event in events:
                    yield event

    async def speak(self, text: str, **options: Any) -> Speech:
        """
        Speak a text.

        Parameters
        ----------
        text : str
            What.
        **options
            Of `SpeechRequest`: `voice`, `speed`, `seed`, `response_format`, `model`.

        Raises
        ------
        InputError
            If the lab has no model for it, or that cannot pronounce it.
        ModelLoadError
            If the model cannot be loaded.
        """
        request = checked(SpeechRequest, input=text, **options)
        content = await self._http.made(f"{PATH}/speech", request)
        return Speech(text, content, request.response_format)


def _opened(file: Path | str | bytes, stack: ExitStack) -> tuple[str, IO[bytes]]:
    """Return name and bytes of a file, or raise `InputError` for one that cannot be opened."""
    if isinstance(file, bytes):
        return "sound", BytesIO(file)
    path = Path(file)
    try:
        return path.name, stack.enter_context(path.open("rb"))
    except OSError as error:
        raise InputError(f"`{path}` cannot be opened: {error.strerror}.") from error
