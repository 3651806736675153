"""Chat models in the lab's own batch."""

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from lab.pipelines.learned import LearnedLimits
from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.pipelines.room import Limits, Room
from lab.pipelines.tally import Tally
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.model import Model

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat


class ChatLoader:
    """
    Says of a chat model how it is loaded.

    Parameters
    ----------
    config : ChatConfig
        Its device, its form and its batch.
    learned : LearnedLimits
        What devices were found to bear.
    tallies : defaultdict
        Where tokens are counted, by model.
    max_pixels : int
        Pixels of the largest picture that is decoded for it.
    """

    def __init__(
        self,
        config: ChatConfig,
        learned: LearnedLimits,
        tallies: "defaultdict[str, Tally]",
        max_pixels: int,
    ) -> None:
        self._config = config
        self._learned = learned
        self._tallies = tallies
        self._max_pixels = max_pixels

    def __call__(self, model: Model) -> "Loader[Quantization, TransformersChat]":
        """Return how a model is loaded."""
        return Loader(partial(self._foretell, model), partial(self._load, model))

    def _foretell(self, model: Model) -> Prospect[Quantization]:
        from lab.pipelines.load import foretell_chat  # noqa: PLC0415 - imports torch

        return foretell_chat(model, self._config)

    def _load(self, model: Model, form: Quantization, growth: Growth) -> "TransformersChat":
        from lab.pipelines.load import load_chat  # noqa: PLC0415 - imports torch

        key = f"{model.id} as {form} on {growth.device}"
        wanted = Limits(self._config.max_streams, self._config.prefill_tokens)
        limits = self._learned.within(key, wanted)
        config = self._config.model_copy(
            update={
                "device": growth.device,
                "max_streams": limits.streams,
                "prefill_tokens": limits.prefill_tokens,
            }
        )
        room = Room(
            may_take=growth,
            could_take=growth.could_take,
            token_bytes=growth.token_bytes,
            wait_s=growth.wait_s,
            learn=partial(self._learn, growth, key),
        )
        tally = self._tallies[model.id]
        return load_chat(model, config, form, tally, room, growth.weight_bytes, self._max_pixels)

    def _learn(self, growth: Growth, key: str, limits: Limits) -> None:
        """Keep what a device that ran out of memory bears; on the engine's thread."""
        self._learned.learn(key, limits)
        growth.note(
            DecisionKind.learned,
            f"{growth.device} ran out of memory: from now on at most {limits.streams} answers at a "
            f"time, and {limits.prefill_tokens:,} tokens of a prompt",
        )
