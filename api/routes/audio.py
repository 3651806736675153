"""Speech both ways, as OpenAI's clients speak of it: heard, translated, spoken."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from api.deps import InferDep, RuntimeDep
from api.disconnect import unless_gone
from api.sound_form import SOUND_FORM, SoundForm, SoundFormDep
from api.streams import named, streamed
from api.subtitles import srt, vtt
from lab.errors import ServiceError
from lab.schemas.sound_format import SoundFormat
from lab.schemas.speech_request import SpeechRequest
from lab.schemas.transcription import Transcription
from lab.schemas.transcription_event import TranscriptionEvent
from lab.schemas.transcription_format import TranscriptionFormat

router = APIRouter(prefix="/v1/audio", tags=["audio"])

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Transcription, "content": {"text/plain": {}, "text/event-stream": {}}}
}
TYPES: Final = {
    SoundFormat.wav: "audio/wav",
    SoundFormat.flac: "audio/flac",
    SoundFormat.mp3: "audio/mpeg",
    SoundFormat.pcm: "audio/pcm",
}
Events = AsyncGenerator[TranscriptionEvent, None]


@router.post("/transcriptions", responses=ANSWERS, openapi_extra=SOUND_FORM)
async def create_transcription(
    form: SoundFormDep, http: Request, runtime: RuntimeDep, owner: InferDep
) -> Any:
    """Write down what is said; with `stream` as Server-Sent Events, with how far it is."""
    sent: SoundForm = form
    events = runtime.speech.transcribe(owner.id, sent.request, sent.file)
    return await _answer(http, events, sent)


@router.post("/translations", responses=ANSWERS, openapi_extra=SOUND_FORM)
async def create_translation(
    form: SoundFormDep, http: Request, runtime: RuntimeDep, owner: InferDep
) -> Any:
    """Write down in English what is said; otherwise as `transcriptions`."""
    sent: SoundForm = form
    events = runtime.speech.transcribe(owner.id, sent.request, sent.file, translate=True)
    return await _answer(http, events, sent)


@router.post(
    "/speech",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in TYPES.values()}}},
)
async def create_speech(
    request: SpeechRequest, http: Request, runtime: RuntimeDep, owner: InferDep
) -> Response:
    """Speak a text."""
    content = await unless_gone(http, runtime.speech.speak(owner.id, request))
    return Response(content, media_type=TYPES[request.response_format])


async def _answer(http: Request, events: Events, sent: SoundForm) -> Any:
    """Return what was said, or the stream of hearing it once it has begun."""
    if sent.request.stream:
        return await streamed(http, events, named)
    said = await unless_gone(http, _last(events))
    match sent.request.response_format:
        case TranscriptionFormat.json:
            return JSONResponse({"text": said.text})
        case TranscriptionFormat.verbose_json:
            return JSONResponse(said.model_dump(mode="json"))
        case TranscriptionFormat.srt:
            return PlainTextResponse(srt(said))
        case TranscriptionFormat.vtt:
            return PlainTextResponse(vtt(said))
        case _:
            return PlainTextResponse(f"{said.text}\n")


async def _last(events: Events) -> Transcription:
    async with aclosing(events):
        async for event in events:
            if event.transcription is not None:
                return event.transcription
    raise ServiceError("The recording was not heard to its end; try again.")
