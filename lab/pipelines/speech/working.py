"""What models of both directions share: their device, their weights, and how they stop."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from lab.errors import LabError, NoRoomError, UnavailableError
from lab.pipelines.building import BUILDING
from lab.pipelines.loading import first_line
from lab.pipelines.memory import network_bytes
from lab.pipelines.turns import StoppedError, Turn, Turns
from lab.schemas.model import Model

StepT = TypeVar("StepT")


class SpeechModel:
    """
    A model of speech in memory, which does one thing at a time and stops between its layers.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : PreTrainedModel
        The weights.
    turns : Turns
        Whose turn it is.
    """

    def __init__(self, model: Model, network: PreTrainedModel, turns: Turns) -> None:
        self.model = model.model_copy(update={"loaded": True})
        self._network = network.eval().requires_grad_(False)
        self._n_bytes = network_bytes(network)
        self._turns = turns
        self._turn: Turn[Any] | None = None
        for part in network.modules():
            part.register_forward_pre_hook(self._go_on)

    @property
    def n_bytes(self) -> int:
        """Bytes that its weights take; 0 when it is closed."""
        return self._n_bytes

    @property
    def weight_bytes(self) -> int:
        """All of them: nothing else stays in memory between two uses."""
        return self._n_bytes

    def rest(self) -> None:
        """Give nothing back: it keeps nothing between calls."""

    def close(self) -> None:
        """Stop what is under way before its next layer, and give the memory back."""
        self._turns.close()
        self._n_bytes = 0
        del self._network

    def take(self, work: Callable[[Turn[StepT]], None]) -> AsyncGenerator[StepT, None]:
        """Yield what the work says, on the model's thread; see `Turns.take`."""

        def guarded(turn: Turn[StepT]) -> None:
            self._turn = turn
            try:
                turn.go_on()
                with torch.inference_mode():
                    work(turn)
            except (LabError, StoppedError):
                raise
            except Exception as error:
                raise self._failure(error) from error
            finally:
                self._turn = None
                if self._device.type != "cpu":
                    torch.accelerator.empty_cache()

        return self._turns.take(guarded)

    @property
    def _device(self) -> torch.device:
        return self._network.device

    def _failure(self, error: Exception) -> LabError:
        full = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if full:
            return NoRoomError(
                f"`{self.model.id}` found no memory left ({first_line(error)}): others took some "
                "meanwhile. Send less at once, or try again later."
            )
        return UnavailableError(f"`{self.model.id}` failed: {first_line(error)}")

    def _go_on(self, part: nn.Module, given: Any) -> None:
        """Stop before a layer where nobody waits any more."""
        if self._turn is not None:
            self._turn.go_on()


def without_storage(auto_class: Any, config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """Return a network on torch's meta device."""
    with BUILDING, torch.device("meta"):
        return auto_class(config).to(dtype).eval()


def dtype_of(config: PretrainedConfig, device: torch.device) -> torch.dtype:
    """Return the number format of the weights: float32 on a CPU, else the model's own."""
    own = config.dtype
    return own if isinstance(own, torch.dtype) and device.type != "cpu" else torch.float32
