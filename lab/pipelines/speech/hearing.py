"""
Speech to text by models of the Whisper family.

A recording is heard in stretches of sound, and each of them in windows of 30 s, of which the next
begins where the last whole sentence of the one before ended (Radford et al., "Robust Speech
Recognition via Large-Scale Weak Supervision", 2022, section 3.8).
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from lab.pipelines.building import BUILDING
from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.files import local_folder
from lab.pipelines.loading import clear_errors
from lab.pipelines.memory import Alive, weight_bytes
from lab.pipelines.need import MemoryNeed, Prospect, smaller
from lab.pipelines.speech.asking import Heard
from lab.pipelines.speech.sound import Sound, decode
from lab.pipelines.speech.stretches import MOST_S, stretches
from lab.pipelines.speech.traits import Ears, ears_of
from lab.pipelines.speech.working import SpeechModel, dtype_of, without_storage
from lab.pipelines.turns import Turn, Turns
from lab.protocols import FloatArray
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.transcription_config import TranscriptionConfig
from lab.schemas.transcription_segment import TranscriptionSegment

NO_SPEECH: Final = {"no_speech_threshold": 0.6, "logprob_threshold": -1.0}
"""A window is passed over that is likelier without speech than this, and as unlikely understood."""
FRAMES_A_SECOND: Final = 100
SAMPLE_RATE: Final = 16_000
SPECTRUM_VALUES: Final = 201 * 5
"""Values that are alive for each frame while a spectrum is made: complex ones, and copies."""
PROMPT_TOKENS: Final = 4


class WhisperTranscription(SpeechModel):
    """
    A Whisper in memory.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : WhisperForConditionalGeneration
        The weights.
    tokenizer : WhisperTokenizer
        Of the network.
    extractor : WhisperFeatureExtractor
        What makes of sound what the network hears.
    ears : Ears
        What it understands.
    config : TranscriptionConfig
        Its limits.
    """

    def __init__(
        self,
        model: Model,
        network: PreTrainedModel,
        tokenizer: WhisperTokenizer,
        extractor: WhisperFeatureExtractor,
        *,
        ears: Ears,
        config: TranscriptionConfig,
    ) -> None:
        turns = Turns(
            model.id,
            "recordings",
            max_queue=config.max_queue,
            setting="LAB_TRANSCRIPTION_MAX_QUEUE",
        )
        super().__init__(model, network, turns)
        self._tokenizer = tokenizer
        self._extractor = extractor
        self._ears = ears
        self._max_seconds = config.max_seconds

    @classmethod
    def load(cls, model: Model, config: TranscriptionConfig) -> "WhisperTranscription":
        """Load the weights; raise `ModelLoadError` when they cannot be had."""
        device = torch_device(config.device)
        ears = ears_of(model)
        with clear_errors(model):
            folder = local_folder(model)
            tokenizer = WhisperTokenizer.from_pretrained(folder)
            extractor = WhisperFeatureExtractor.from_pretrained(folder)
            dtype = dtype_of(AutoConfig.from_pretrained(folder), device)
            with BUILDING:
                network = WhisperForConditionalGeneration.from_pretrained(
                    folder, dtype=dtype, use_safetensors=True
                ).to(device)
            return cls(model, network, tokenizer, extractor, ears=ears, config=config)

    @staticmethod
    def foretell(model: Model, config: TranscriptionConfig) -> Prospect[Quantization]:
        """Return what a model will need for the longest stretch, from its configuration alone."""
        ears_of(model)
        with clear_errors(model):
            devices = candidates(config.device)
            network_config = AutoConfig.from_pretrained(local_folder(model))
            need = _need(network_config, dtype_of(network_config, devices[0]), devices[0])
        places = [str(one) for one in devices]
        step = f"to hear {MOST_S:.0f} s of sound"
        advice = smaller("model")
        return Prospect(model.id, places, step, advice, {Quantization.none: need})

    def transcribe(
        self, sound: Sound, *, language: str | None = None, translate: bool = False
    ) -> AsyncGenerator[Heard, None]:
        """
        Yield what is understood, step by step; closing the generator stops it.

        Raises
        ------
        MediaTypeError
            If the sound is damaged.
        RateLimitError
            If too many recordings wait already.
        NoRoomError
            If the device ran out of memory.
        UnavailableError
            If the model failed, or leaves before the end.
        """
        return self.take(partial(self._hear, sound, language, translate))

    def _hear(self, sound: Sound, language: str | None, translate: bool, turn: Turn[Heard]) -> None:
        """Hear a recording; on the thread."""
        rate = self._extractor.sampling_rate
        turn.say(Heard(0))
        wave = decode(sound, rate, self._max_seconds, turn.go_on)
        n_said = 0
        for start, end in stretches(wave, rate):
            part = wave[start:end]
            if language is None and self._ears.languages:
                language = self._detected(part)
            begun = start / rate
            segments = self._understood(part, begun, language, translate, turn)
            numbered = [one.model_copy(update={"id": n}) for n, one in enumerate(segments, n_said)]
            n_said += len(numbered)
            turn.say(Heard(end / rate, numbered, language))
        turn.say(Heard(len(wave) / rate, (), language))

    def _understood(
        self,
        wave: FloatArray,
        begun: float,
        language: str | None,
        translate: bool,
        turn: Turn[Heard],
    ) -> list[TranscriptionSegment]:
        """Return the segments of a stretch of shape (N,) that begins at so many seconds."""
        seconds = len(wave) / self._extractor.sampling_rate

        def progress(frames: Tensor) -> None:
            """Tell of (1, 2) frames: those that are done, and all."""
            done = min(float(frames[0, 0]) / FRAMES_A_SECOND, seconds)
            turn.say(Heard(begun + done, (), language))

        asked: dict[str, Any] = {}
        if self._ears.languages:
            asked = {"language": language, "task": "translate" if translate else "transcribe"}
        found = self._network.generate(
            self._features(wave, padding="longest", truncation=False),
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=False,
            temperature=0.0,
            monitor_progress=progress,
            **NO_SPEECH,
            **asked,
        )
        return [
            TranscriptionSegment(
                id=0,
                start=round(begun + min(float(one["start"]), seconds), 2),
                end=round(begun + min(float(one["end"]), seconds), 2),
                text=text,
            )
            for one in found["segments"][0]
            if float(one["start"]) < seconds  # or it is of what a window is filled up with
            and (text := self._tokenizer.decode(one["tokens"], skip_special_tokens=True)).strip()
        ]

    def _detected(self, wave: FloatArray) -> str:
        """Return the language in which a wave of shape (N,) begins."""
        window = wave[: self._extractor.n_samples]
        (token,) = self._network.detect_language(self._features(window)).tolist()
        known: dict[str, int] = self._network.generation_config.lang_to_id
        return next(name for name, number in known.items() if number == token).strip("<|>")

    def _features(self, wave: FloatArray, **options: Any) -> Tensor:
        """Return the (1, M, T) spectrum of a wave of shape (N,) on the model's device."""
        found = self._extractor(
            wave, sampling_rate=self._extractor.sampling_rate, return_tensors="pt", **options
        )
        features: Tensor = found["input_features"].to(self._device, self._network.dtype)
        return features


def _need(config: WhisperConfig, dtype: torch.dtype, device: torch.device) -> MemoryNeed:
    """Return what the longest stretch takes: of a window what is rehearsed, and the spectrum."""
    network = without_storage(WhisperForConditionalGeneration, config, dtype)
    n_frames = config.max_source_positions * 2
    window = torch.zeros((1, config.num_mel_bins, n_frames), dtype=dtype, device="meta")
    prompt = torch.zeros((1, PROMPT_TOKENS), dtype=torch.long, device="meta")
    alive = Alive(network)
    with torch.inference_mode(), alive:
        network(input_features=window, decoder_input_ids=prompt, use_cache=True)
    n_tokens = config.max_target_positions
    cache = 2 * config.decoder_layers * n_tokens * config.d_model * dtype.itemsize
    all_frames = int(MOST_S * FRAMES_A_SECOND)
    kept = all_frames * config.num_mel_bins * dtype.itemsize
    scores = n_tokens * config.vocab_size * torch.float32.itemsize
    spectrum = all_frames * SPECTRUM_VALUES * torch.float32.itemsize if device.type == "cpu" else 0
    # The spectrum is made before the network hears it.
    at_once = max(alive.peak + scores, spectrum)
    return MemoryNeed(weight_bytes(network, Quantization.none), cache, kept + at_once)
