"""What a person does with sound: have recordings written down and translated, have texts spoken."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openai
import psutil
import pytest
import soundfile

from lab.client import connect
from lab.db import Database
from lab.errors import (
    DocumentTooLargeError,
    InputError,
    LabError,
    MediaTypeError,
    UnknownModelError,
)
from lab.schemas.scope import Scope
from lab.schemas.transcription_event import TranscriptionEvent
from lab.schemas.user import User
from tests.api_server import USER_SCOPES, Api, key_of, running_api
from tests.commands import command, start
from tests.sounds import silence, sound_file, tone
from tests.tiny_speech import save_tiny_vits, save_tiny_whisper

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def long() -> bytes:
    """A recording that takes a while."""
    return sound_file(np.concatenate([tone(200, 8000)] * 4), "flac", 8000)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    save_tiny_whisper(folder / "tiny-whisper")
    save_tiny_whisper(folder / "english", multilingual=False)
    save_tiny_vits(folder / "tiny-vits", n_voices=2)
    return folder


@pytest.fixture(scope="module")
async def audio_api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> AsyncIterator[Api]:
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("audio-api")),
        "LAB_TRANSCRIPTION_MODEL": str(models / "tiny-whisper"),
        "LAB_SPEECH_MODEL": str(models / "tiny-vits"),
        "LAB_SPEECH_MAX_CHARACTERS": "1000",
        "LAB_LIMITS_MAX_AUDIO_BYTES": "30000000",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def audio_api(audio_api_app: Api, database: Database) -> Api:
    return audio_api_app


async def until_unused(api: Api) -> None:
    """Wait until nobody has a lease."""
    async with asyncio.timeout(10):
        while api.load().leases:
            await asyncio.sleep(0.02)


async def test_a_recording_is_written_down_and_a_text_spoken(audio_api: Api, ann: str) -> None:
    told: list[TranscriptionEvent] = []
    async with connect(audio_api.url, ann) as lab:
        speech = await lab.speak("Good morning to everybody.", voice="1")
        again = await lab.speak("Good morning to everybody.", voice="1")
        said = await lab.transcribe(speech.content, on_progress=told.append)
        english = await lab.transcribe(speech.content, language="de", translate=True)
        quiet = await lab.transcribe(sound_file(silence(3)))
        does = {model.id: model.task for model in await lab.models()}
        report = await lab.residents.report()

    wave, rate = soundfile.read(BytesIO(speech.content))
    assert (rate, speech.content == again.content) == (16_000, True)
    assert "<audio controls" in speech._repr_html_()
    assert said.text
    assert said.text == "".join(one.text for one in said.segments).strip()
    assert said.duration == pytest.approx(len(wave) / rate, abs=0.01)
    assert (said.task, said.language in {"de", "en"}) == ("transcribe", True)
    assert (english.task, english.language) == ("translate", "de")
    assert (quiet.text, quiet.segments, quiet.language) == ("", [], None)
    assert told[-1].seconds == told[-1].duration == said.duration
    assert (does["tiny-whisper"], does["tiny-vits"]) == ("transcription", "speech")
    assert {"tiny-whisper", "tiny-vits"} <= {one.model for one in report.models}
    assert all(one.used_bytes <= one.foretold_bytes for one in report.models)


async def test_the_client_of_openai_hears_and_speaks(audio_api: Api, ann: str) -> None:
    file = ("talk.flac", sound_file(tone(40), "flac"))
    async with openai.AsyncOpenAI(base_url=f"{audio_api.url}/v1", api_key=ann) as client:
        hear = client.audio.transcriptions.create
        plain = await hear(model="tiny-whisper", file=file, language="de")
        whole = await hear(
            model="tiny-whisper",
            file=file,
            language="de",
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
        texts = [
            await hear(model="tiny-whisper", file=file, language="de", response_format=kind)
            for kind in ("text", "srt", "vtt")
        ]
        stream: Any = await hear(model="tiny-whisper", file=file, language="de", stream=True)
        events = [event async for event in stream]
        with pytest.warns(DeprecationWarning, match="deprecated"):  # that client's own
            english = await client.audio.translations.create(model="tiny-whisper", file=file)
        spoken = await client.audio.speech.create(
            model="tiny-vits", voice="default", input="Good morning.", response_format="mp3"
        )

    segments = whole.segments or []
    assert plain.text == whole.text == str(texts[0]).strip() != english.text
    assert (whole.language, float(whole.duration)) == ("de", 40)
    assert len(segments) >= 2
    assert str(texts[1]).startswith("1\n00:00:")
    assert str(texts[2]).startswith("WEBVTT\n\n00:00:")
    assert {event.type for event in events[:-1]} == {"progress", "transcript.text.delta"}
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", plain.text)
    assert soundfile.info(BytesIO(spoken.content)).samplerate == 16_000


async def test_what_cannot_be_heard_is_refused_and_the_service_lives(
    audio_api: Api, ann: str
) -> None:
    wav = sound_file(tone(2))
    hour = sound_file(silence(3601, 8000), "flac", 8000)
    bad: dict[bytes, tuple[type[LabError], str]] = {
        b"": (InputError, "0 bytes"),
        b"no sound at all": (MediaTypeError, "no sound that is taken here"),
        wav[:-500]: (MediaTypeError, "damaged"),
        hour: (DocumentTooLargeError, "3,601 s.*1,800 s are taken.*LAB_TRANSCRIPTION_MAX_SECONDS"),
        bytes(30_010_000): (DocumentTooLargeError, "limits.max_audio_bytes"),
    }
    asked: list[tuple[dict[str, Any], type[LabError], str]] = [
        ({"language": "fr"}, InputError, "`tiny-whisper` does not know 'fr'.*de, en"),
        ({"model": "tiny-vits"}, InputError, "`tiny-vits` speaks, .* that transcribes"),
        ({"model": "whisper-1"}, UnknownModelError, "whisper-1"),
        ({"temperature": 0.7}, InputError, "`temperature`"),
        ({"prompt": "Names"}, InputError, "`prompt`"),
    ]
    async with connect(audio_api.url, ann) as lab, audio_api.client(ann) as client:
        await audio_api.app.state.runtime.pipelines.unload("tiny-whisper")
        before = psutil.Process().memory_info().rss
        for content, (kind, why) in bad.items():
            with pytest.raises(kind, match=why):
                await lab.transcribe(content)
        for options, kind, why in asked:
            with pytest.raises(kind, match=why):
                await lab.transcribe(wav, **options)
        grown = psutil.Process().memory_info().rss - before
        loaded = {model.id for model in await lab.models() if model.loaded}
        missing = await client.post("/v1/audio/transcriptions", data={"language": "de"}, files={})
        words = await client.post(
            "/v1/audio/transcriptions",
            data={"timestamp_granularities[]": "word"},
            files={"file": ("a.wav", wav)},
        )
        fine = await lab.transcribe(wav, language="de")

    assert grown < 200e6
    assert "tiny-whisper" not in loaded
    assert "`file`: no file came" in missing.text
    assert "timestamp_granularities" in words.json()["error"]["message"]
    assert {missing.status_code, words.status_code} == {400}
    assert fine.text
    await until_unused(audio_api)


async def test_what_cannot_be_spoken_is_refused(audio_api: Api, ann: str) -> None:
    asked: list[tuple[str, dict[str, Any], str]] = [
        (" ", {}, "nothing in it"),
        ("a" * 1001, {}, "1,001 characters.*LAB_SPEECH_MAX_CHARACTERS"),
        ("Call 110", {}, "does not pronounce 0, 1"),
        ("Hello", {"voice": "alloy"}, "no voice 'alloy'.*and 1 to 1"),
        ("Hello", {"speed": 9}, "speed"),
        ("Hello", {"model": "tiny-whisper"}, "`tiny-whisper` transcribes, .* that speaks"),
    ]
    async with connect(audio_api.url, ann) as lab:
        for text, options, why in asked:
            with pytest.raises(InputError, match=why):
                await lab.speak(text, **options)


async def test_a_lab_without_such_models_says_which_setting_to_give(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(InputError, match="set LAB_TRANSCRIPTION_MODEL"):
            await lab.transcribe(sound_file(tone(1)))
        with pytest.raises(InputError, match="set LAB_SPEECH_MODEL"):
            await lab.speak("Hello.")
        with pytest.raises(InputError, match="`lab-tiny` chats, and a model is needed that speaks"):
            await lab.speak("Hello.", model="lab-tiny")


async def test_a_model_is_added_while_the_lab_runs(
    audio_api: Api, models: Path, database: Database, owner: User
) -> None:
    wav = sound_file(tone(2))
    key = await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])
    async with connect(audio_api.url, key) as lab:
        with pytest.raises(InputError, match="`tiny-vits2` transcribes nothing"):
            await lab.catalog.add(
                str(models / "tiny-vits"), name="tiny-vits2", task="transcription"
            )
        added = await lab.catalog.add(str(models / "english"), task="transcription")
        said = await lab.transcribe(wav, model="english")
        with pytest.raises(InputError, match="`english` does not translate"):
            await lab.transcribe(wav, model="english", translate=True)
        with pytest.raises(InputError, match="knows one language only"):
            await lab.transcribe(wav, model="english", language="en")
        await until_unused(audio_api)
        await lab.catalog.remove("english")

    assert added.task == "transcription"
    assert (said.language, bool(said.text)) == (None, True)


async def test_who_leaves_stops_it_at_once(audio_api: Api, ann: str, long: bytes) -> None:
    async with connect(audio_api.url, ann) as lab:
        async with aclosing(lab.audio.events(long, language="de")) as events:
            async for event in events:
                if event.seconds > 30:
                    break
            assert audio_api.load().leases == 1
        async with asyncio.timeout(2):
            await until_unused(audio_api)
        assert (await lab.transcribe(sound_file(tone(1)), language="de")).text


async def test_audio_on_the_command_line(
    audio_api: Api, ann: str, long: bytes, tmp_path: Path
) -> None:
    wav = tmp_path / "morning.wav"
    spoken = await command(audio_api, ann, "audio", "speak", "Good morning.", "-o", str(wav))
    (tmp_path / "tone.wav").write_bytes(sound_file(tone(2)))
    said = await command(
        audio_api, ann, "audio", "transcribe", str(tmp_path / "tone.wav"), "-l", "de", "--times"
    )
    gone = await command(audio_api, ann, "audio", "transcribe", str(tmp_path / "no.wav"))
    (tmp_path / "long.flac").write_bytes(long)
    process = await start(
        audio_api, ann, "audio", "transcribe", str(tmp_path / "long.flac"), "-l", "de"
    )
    async with asyncio.timeout(60):
        while not audio_api.load().leases:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    await until_unused(audio_api)

    assert (spoken[0], soundfile.info(wav).samplerate) == (0, 16_000)
    assert said[0] == 0
    assert re.match(r" +\d+\.\d\d +\d+\.\d\d  ", said[1])
    assert (gone[0], "Error: `" in gone[1], "cannot be opened" in gone[1]) == (1, True, True)
    assert process.returncode == 130
    assert "Stopped." in errors.decode()
    assert "Traceback" not in "".join([spoken[1], said[1], gone[1], errors.decode()])
