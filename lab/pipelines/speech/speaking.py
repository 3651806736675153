"""
Text to speech by models of the VITS family, MMS among them.

A long text is spoken in parts, at the ends of its sentences: what is alive at once depends on the
longest part alone.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, VitsConfig, VitsModel

from lab.errors import InputError
from lab.pipelines.building import BUILDING
from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.files import local_folder
from lab.pipelines.loading import clear_errors
from lab.pipelines.memory import Alive, weight_bytes
from lab.pipelines.need import MemoryNeed, Prospect, smaller
from lab.pipelines.speech.asking import Saying, Spoken
from lab.pipelines.speech.traits import voices_of
from lab.pipelines.speech.working import SpeechModel, dtype_of, without_storage
from lab.pipelines.turns import Turn, Turns
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.speech_config import SpeechConfig

PART: Final = 200
"""Characters that are spoken at once."""
SECONDS_A_CHARACTER: Final = 0.12
"""How long a slow speaker takes; the memory that is foretold is for it."""


class VitsSpeech(SpeechModel):
    """
    A VITS in memory.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : VitsModel
        The weights.
    tokenizer : VitsTokenizer
        Of the network.
    config : SpeechConfig
        Its limits.
    """

    def __init__(
        self, model: Model, network: PreTrainedModel, tokenizer: Any, *, config: SpeechConfig
    ) -> None:
        turns = Turns(model.id, "texts", max_queue=config.max_queue, setting="LAB_SPEECH_MAX_QUEUE")
        super().__init__(model, network, turns)
        self._tokenizer = tokenizer
        self._rate = int(network.config.sampling_rate)

    @classmethod
    def load(cls, model: Model, config: SpeechConfig) -> "VitsSpeech":
        """Load the weights; raise `ModelLoadError` when they cannot be had."""
        device = torch_device(config.device)
        voices_of(model)
        with clear_errors(model):
            folder = local_folder(model)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            dtype = dtype_of(AutoConfig.from_pretrained(folder), device)
            with BUILDING:
                network = VitsModel.from_pretrained(folder, dtype=dtype, use_safetensors=True)
            return cls(model, network.to(device), tokenizer, config=config)

    @staticmethod
    def foretell(model: Model, config: SpeechConfig) -> Prospect[Quantization]:
        """Return what a model will need for a part of a text, from its configuration alone."""
        voices_of(model)
        with clear_errors(model):
            devices = candidates(config.device)
            network_config = AutoConfig.from_pretrained(local_folder(model))
            need = _need(network_config, dtype_of(network_config, devices[0]))
        places = [str(one) for one in devices]
        step = f"to speak {PART} characters ({PART * SECONDS_A_CHARACTER:.0f} s)"
        advice = smaller("model")
        return Prospect(model.id, places, step, advice, {Quantization.none: need})

    def speak(self, saying: Saying) -> AsyncGenerator[Spoken, None]:
        """
        Yield a text part by part, spoken; closing the generator stops it.

        Raises
        ------
        InputError
            If the model cannot pronounce it.
        RateLimitError
            If too many texts wait already.
        NoRoomError
            If the device ran out of memory.
        UnavailableError
            If the model failed, or leaves before the end.
        """
        return self.take(partial(self._say, saying))

    def _say(self, saying: Saying, turn: Turn[Spoken]) -> None:
        """Speak a text; on the thread."""
        self._check_pronounced(saying.text)
        drawn = torch.Generator("cpu").manual_seed(saying.seed)
        for part in parts_of(saying.text, max(int(PART * min(saying.speed, 1)), 1)):
            inputs = self._tokenizer(part, return_tensors="pt").to(self._device)
            if not inputs["input_ids"].shape[-1]:  # a part of punctuation alone
                continue
            with Drawn(drawn):
                made = self._network(
                    **inputs,
                    speaker_id=saying.voice,
                    speaking_rate=self._network.speaking_rate * saying.speed,
                )
            wave = made.waveform[0].float().clamp(-1, 1).cpu().numpy()
            turn.say(Spoken(wave, self._rate))

    def _check_pronounced(self, text: str) -> None:
        """Raise for letters and digits that the model would leave out without a word."""
        tokenizer = self._tokenizer
        if tokenizer.phonemize or tokenizer.is_uroman:
            return
        known = tokenizer.get_vocab()
        said = tokenizer.normalize_text(text) if tokenizer.normalize else text
        strange = sorted({one for one in said if one.isalnum() and one not in known})
        if strange:
            raise InputError(
                f"`input`: `{self.model.id}` does not pronounce {', '.join(strange[:10])}; write "
                "numbers and foreign letters as words of its language."
            )
        if not any(one in known for one in said if one.isalnum()):
            raise InputError("`input`: there is nothing in it that is spoken; send words.")


class Drawn(TorchFunctionMode):
    """
    Random numbers of a generator of one's own, whatever draws them within.

    Parameters
    ----------
    generator : torch.Generator
        Of the CPU, so that a seed gives the same on any device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function; of those that draw, draw here."""
        kwargs = kwargs or {}
        if func is torch.randn_like:
            like = args[0]  # whose order in memory is that of the numbers
            drawn = torch.empty_like(like, device="cpu").normal_(generator=self._generator)
            return drawn.to(like.device)
        if func is torch.randn:
            device = kwargs.pop("device", None)
            drawn = torch.randn(*args, generator=self._generator, **kwargs)
            return drawn if device is None else drawn.to(device)
        return func(*args, **kwargs)


def parts_of(text: str, most: int) -> Iterator[str]:
    """
    Yield a text in parts of at most so many characters, ended where sentences or else words end.

    >>> list(parts_of("One. Two two. Three", 10)), list(parts_of("abcdef gh", 4))
    (['One.', 'Two two.', 'Three'], ['abcd', 'ef', 'gh'])
    """
    left = " ".join(text.split())
    while len(left) > most:
        window = left[: most + 1]
        ends = [found.end() for found in re.finditer(r"[.!?…。！？](?=\s)", window)]
        place = ends[-1] if ends else window.rfind(" ")
        if place <= 0:
            place = most
        yield left[:place].strip()
        left = left[place:].strip()
    if left:
        yield left


def _need(config: VitsConfig, dtype: torch.dtype) -> MemoryNeed:
    """
    Return what a part of a text takes.

    Its encoder and its decoder are rehearsed one after the other, since how long a text is spoken
    is known only when it was read.
    """
    network = without_storage(VitsModel, config, dtype)
    seconds = PART * SECONDS_A_CHARACTER
    upsampled = 1
    for factor in config.upsample_rates:
        upsampled *= factor
    n_frames = int(seconds * config.sampling_rate) // upsampled
    n_tokens = 2 * PART + 1
    alive = Alive(network)
    with torch.inference_mode(), alive:
        network.text_encoder(
            input_ids=torch.zeros((1, n_tokens), dtype=torch.long, device="meta"),
            padding_mask=torch.ones((1, n_tokens, 1), dtype=dtype, device="meta"),
        )
        spectrogram = torch.zeros((1, config.flow_size, n_frames), dtype=dtype, device="meta")
        mask = torch.ones((1, 1, n_frames), dtype=dtype, device="meta")
        network.decoder(network.flow(spectrogram, mask, None, reverse=True), None)
    between = 2 * n_tokens * n_frames * dtype.itemsize  # which token is spoken when
    need = weight_bytes(network, Quantization.none)
    return MemoryNeed(need, 0, alive.peak + between)
