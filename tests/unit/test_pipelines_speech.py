import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    AutoTokenizer,
    VitsModel,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from lab.errors import (
    DocumentTooLargeError,
    InputError,
    LabError,
    MediaTypeError,
    RateLimitError,
    UnavailableError,
    UnknownModelError,
)
from lab.pipelines import PipelineFactory, pipeline_factory
from lab.pipelines.catalog import configured
from lab.pipelines.checking import check_config
from lab.pipelines.memory import Alive
from lab.pipelines.speech.asking import Heard, Saying, TranscriptionPipeline
from lab.pipelines.speech.hearing import WhisperTranscription
from lab.pipelines.speech.sound import Sound, decode, encode, open_sound
from lab.pipelines.speech.speaking import VitsSpeech
from lab.pipelines.speech.stretches import stretches
from lab.pipelines.speech.traits import ears_of, voices_of
from lab.protocols import FloatArray
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.speech_config import SpeechConfig
from lab.schemas.task import Task
from lab.schemas.transcription_config import TranscriptionConfig
from tests.sounds import RATE, silence, sound_file, tone
from tests.tiny_speech import save_tiny_vits, save_tiny_whisper

HOUR = 3600.0


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny-whisper")


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vits(tmp_path_factory.mktemp("vits") / "tiny-vits", n_voices=2)


def hearing(folder: Path, **options: Any) -> TranscriptionConfig:
    return TranscriptionConfig(model=str(folder), device="cpu", **options)


def speaking(folder: Path, **options: Any) -> SpeechConfig:
    return SpeechConfig(model=str(folder), device="cpu", **options)


@pytest.fixture
async def factory(whisper: Path, vits: Path) -> AsyncIterator[PipelineFactory]:
    factory = pipeline_factory(
        ChatConfig(threads=1),
        EmbeddingConfig(),
        transcription=hearing(whisper, max_queue=0),
        speech=speaking(vits),
    )
    yield factory
    await factory.aclose()


def sound_of(wave: FloatArray) -> Sound:
    return open_sound(BytesIO(sound_file(wave, "flac")), HOUR)


async def heard(pipeline: TranscriptionPipeline, wave: FloatArray, **asked: Any) -> list[Heard]:
    async with aclosing(pipeline.transcribe(sound_of(wave), **asked)) as steps:
        return [step async for step in steps]


@pytest.mark.parametrize("seconds", [3, 70])
async def test_it_understands_what_transformers_does(
    factory: PipelineFactory, whisper: Path, seconds: int
) -> None:
    wave = decode(sound_of(tone(seconds)), RATE, HOUR)
    network = WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(whisper)
    tokenizer = WhisperTokenizer.from_pretrained(whisper)
    features = extractor(
        wave, sampling_rate=RATE, return_tensors="pt", padding="longest", truncation=False
    )
    expected = network.generate(
        features.input_features,
        language="de",
        task="transcribe",
        return_timestamps=True,
        return_segments=True,
        temperature=0.0,
    )["segments"][0]
    expected = [
        one
        for one in expected
        if one["start"] < seconds
        and tokenizer.decode(one["tokens"], skip_special_tokens=True).strip()
    ]

    async with factory.transcription(None) as pipeline:
        steps = await heard(pipeline, tone(seconds), language="de")
        detected = await heard(pipeline, tone(seconds))
        translated = await heard(pipeline, tone(seconds), language="de", translate=True)

    found = [segment for step in steps for segment in step.segments]
    texts = [tokenizer.decode(one["tokens"], skip_special_tokens=True) for one in expected]
    assert [one.text for one in found] == texts
    assert [one.start for one in found] == [round(float(one["start"]), 2) for one in expected]
    assert [one.id for one in found] == list(range(len(texts)))
    assert found[-1].end <= seconds
    assert steps[-1].seconds == pytest.approx(seconds, abs=0.01)
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)
    assert len(steps) > seconds // 30 + 2
    assert detected[-1].language in {"de", "en"}
    assert [s.text for step in translated for s in step.segments] != texts


async def test_nothing_is_said_in_silence(
    factory: PipelineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with factory.transcription(None) as pipeline:
        alone = await heard(pipeline, tone(4), language="de")
        between = await heard(
            pipeline, np.concatenate([silence(60), tone(4), silence(40)]), language="de"
        )
        monkeypatch.setattr(pipeline, "_understood", None)  # nobody may ask the model
        quiet = await heard(pipeline, 0.0009 * tone(20))

    assert [segment for step in quiet for segment in step.segments] == []
    assert (quiet[-1].seconds, quiet[-1].language) == (20, None)
    (said,) = [step.segments for step in between if step.segments]
    assert len(said) == len([s for step in alone for s in step.segments])
    assert 59 <= said[0].start <= said[-1].end <= 65
    assert between[-1].seconds == 104


def test_long_sound_is_cut_where_it_is_quiet() -> None:
    wave = np.concatenate([tone(290), 0.01 * tone(1), tone(400)])
    found = list(stretches(wave, RATE))

    starts, ends = zip(*found, strict=True)
    assert starts[0] == 0
    assert ends[-1] == len(wave)
    assert starts[1:] == ends[:-1]
    assert 290 <= ends[0] / RATE <= 291
    assert max((end - start) / RATE for start, end in found) <= 301
    assert list(stretches(silence(100), RATE)) == []


async def test_whoever_leaves_stops_it_between_two_layers(factory: PipelineFactory) -> None:
    long = np.concatenate([tone(250)] * 4)
    async with factory.transcription(None) as pipeline:
        running = pipeline.transcribe(sound_of(long), language="de")
        async for step in running:
            if step.seconds > 30:
                break
        with pytest.raises(RateLimitError, match=r"recordings wait.*LAB_TRANSCRIPTION_MAX_QUEUE"):
            await heard(pipeline, tone(1))
        async with asyncio.timeout(1):
            await running.aclose()
        assert await heard(pipeline, tone(1), language="de")
        running = pipeline.transcribe(sound_of(long), language="de")
        await anext(running)
        async with asyncio.timeout(5):
            await factory.aclose()
        with pytest.raises(UnavailableError, match="taken out of memory"):
            [step async for step in running]


def test_what_is_foretold_is_what_is_alive(whisper: Path, vits: Path) -> None:
    def alive(network: Any, work: Callable[[], object]) -> int:
        counted = Alive(network)
        with torch.inference_mode(), counted:
            work()
        return counted.peak

    ears = WhisperTranscription.load(model_of(whisper, Task.transcription), hearing(whisper))
    need = one_need(WhisperTranscription.foretell(ears.model, hearing(whisper)))
    turn: Any = type("Silent", (), {"say": lambda *_: None, "go_on": lambda *_: None})()
    peak = alive(ears._network, lambda: ears._understood(tone(300), 0, "de", False, turn))
    assert ears.n_bytes == need.weights
    assert 0.3 * need.total < peak + need.weights <= need.total * 1.1
    ears.close()

    voice = VitsSpeech.load(model_of(vits, Task.speech), speaking(vits))
    need = one_need(VitsSpeech.foretell(voice.model, speaking(vits)))
    text = "the quick brown fox jumps over the lazy dog " * 4
    peak = alive(voice._network, lambda: voice._say(Saying(text, speed=0.5), turn))
    assert voice.n_bytes == need.weights
    assert peak <= need.total * 1.1
    voice.close()


async def test_it_speaks_as_transformers_does(factory: PipelineFactory, vits: Path) -> None:
    async def spoken(**asked: Any) -> FloatArray:
        async with factory.speech(None) as pipeline, aclosing(pipeline.speak(Saying(**asked))) as s:
            parts = [part async for part in s]
        assert {part.rate for part in parts} == {16_000}
        return np.concatenate([part.wave for part in parts])

    network = VitsModel.from_pretrained(vits).eval()
    inputs = AutoTokenizer.from_pretrained(vits)("Good morning!", return_tensors="pt")
    torch.manual_seed(5)
    with torch.inference_mode():
        expected = network(**inputs, speaker_id=1).waveform[0].numpy()

    found = await spoken(text="Good morning!", voice=1, seed=5)
    state = torch.random.get_rng_state()
    slow = await spoken(text="Good morning!", voice=1, seed=5, speed=0.5)
    others = [
        await spoken(text="Good morning!", voice=voice, seed=seed)
        for voice, seed in ((0, 5), (1, 6))
    ]
    long = await spoken(text="Good morning to all. " * 20)

    np.testing.assert_allclose(found, np.clip(expected, -1, 1), atol=1e-5)
    assert len(slow) > 1.3 * len(found)
    assert not any(np.array_equal(found, other) for other in others)
    assert len(long) > 20 * len(found) / 2
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's numbers were drawn


async def test_what_it_cannot_pronounce_is_said(factory: PipelineFactory) -> None:
    async with factory.speech(None) as pipeline:
        for text, why in (("3 dogs", "does not pronounce 3"), ("...", "nothing in it")):
            with pytest.raises(InputError, match=why):
                [part async for part in pipeline.speak(Saying(text))]


def test_a_folder_says_what_the_model_can_do(whisper: Path, vits: Path, tmp_path: Path) -> None:
    english = save_tiny_whisper(tmp_path / "english", multilingual=False)
    ears = ears_of(model_of(whisper, Task.transcription))
    none = ears_of(model_of(english, Task.transcription))
    voices = voices_of(model_of(vits, Task.speech))

    assert (ears.languages, ears.translates) == (("de", "en"), True)
    assert (none.languages, none.translates) == ((), False)
    assert (voices.n_voices, voices.rate) == (2, 16_000)


async def test_a_model_that_cannot_is_refused_by_name_before_anything_loads(
    whisper: Path, vits: Path, tmp_path: Path
) -> None:
    phonemes = save_tiny_vits(tmp_path / "phonemes", phonemize=True)
    old = shutil.copytree(whisper, tmp_path / "old")
    (old / "generation_config.json").write_text(json.dumps({"max_length": 9}))
    for folder, task, why in (
        (vits, Task.transcription, r"`tiny-vits` transcribes nothing: .*VitsModel.*Whisper"),
        (whisper, Task.speech, r"`tiny-whisper` does not speak: .*Whisper.*VITS or MMS"),
        (phonemes, Task.speech, "phonemizer makes of a text, which is not installed"),
        (old, Task.transcription, "no_timestamps_token_id"),
    ):
        with pytest.raises(InputError, match=why):
            check_config(model_of(folder, task), folder)
    factory = pipeline_factory(
        ChatConfig(),
        EmbeddingConfig(),
        transcription=hearing(vits),
        speech=speaking(phonemes),
    )
    none = pipeline_factory(ChatConfig(), EmbeddingConfig())
    with pytest.raises(InputError, match="`tiny-vits` transcribes nothing"):
        await factory.load("tiny-vits")
    with pytest.raises(InputError, match="phonemizer"):
        await factory.load("phonemes")
    with pytest.raises(InputError, match="`phonemes` speaks, and a model is needed that transcr"):
        factory.transcription("phonemes")
    with pytest.raises(UnknownModelError, match=r"whisper-1.*There are: tiny-vits"):
        factory.transcription("whisper-1")
    with pytest.raises(InputError, match=r"set LAB_SPEECH_MODEL.*--task speech"):
        none.speech(None)
    assert factory.residents.loaded == {}


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_sound_of_every_kind_is_read_at_another_rate(kind: str) -> None:
    stereo = np.stack([tone(2, 44_100), tone(2, 44_100)], axis=1)
    sound = open_sound(BytesIO(sound_file(stereo, kind, 44_100)), HOUR)
    wave = decode(sound, RATE, HOUR)

    assert sound.seconds == pytest.approx(2, abs=0.1)
    assert len(wave) == pytest.approx(2 * RATE, rel=0.05)
    assert np.corrcoef(wave[:RATE], tone(1))[0, 1] > (0.9 if kind in {"wav", "flac"} else 0.5)


def test_what_is_no_sound_or_too_much_is_refused() -> None:
    wav, flac = sound_file(tone(2)), sound_file(tone(60), "flac")
    hour = sound_file(silence(HOUR + 1, 8000), "flac", 8000)
    odd = sound_file(np.full(1600, np.nan, np.float32), "wav")
    bad: dict[bytes, tuple[type[LabError], str]] = {
        b"": (InputError, "0 bytes"),
        b"no sound": (MediaTypeError, "no sound that is taken here; send WAV"),
        b"%PDF-1.7 no sound": (MediaTypeError, "looks like application/pdf"),
        wav[:-1000]: (MediaTypeError, "shorter than its header tells"),
        flac[: len(flac) // 2]: (MediaTypeError, "damaged"),
        sound_file(silence(0)): (InputError, "holds no sound"),
        hour: (DocumentTooLargeError, "3,601 s, and 1,800 s are taken.*LAB_TRANSCRIPTION_MAX_SEC"),
        sound_file(tone(1), "wav", 500): (MediaTypeError, "500 samples a second"),
    }
    for content, (kind, why) in bad.items():
        with pytest.raises(kind, match=why):
            decode(open_sound(BytesIO(content), 1800), RATE, 1800)
    assert len(odd) > 0
    lying = Sound(BytesIO(wav), 1)
    with pytest.raises(DocumentTooLargeError, match="MAX_SECONDS"):
        decode(lying, RATE, 1.5)


def test_speech_is_written_in_every_kind() -> None:
    wave = tone(1)
    for kind in ("wav", "flac", "mp3"):
        found, rate = soundfile.read(BytesIO(encode(wave, RATE, kind)), dtype="float32")
        assert rate == RATE
        assert len(found) == pytest.approx(RATE, rel=0.1)
    pcm = np.frombuffer(encode(wave, RATE, "pcm"), "<i2")
    np.testing.assert_allclose(pcm / 32768, wave, atol=1e-3)


def model_of(folder: Path, task: Task) -> Model:
    return configured(str(folder), None, task)


def one_need(prospect: Any) -> Any:
    (need,) = prospect.needs.values()
    return need
