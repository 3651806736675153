"""
Pictures before a chat model: made ready by the model's processor, and put into its prompt.

Shape letters: T tokens of a prompt, I hidden size.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import torch
from PIL.Image import Image as Picture
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from lab.errors import DocumentTooLargeError
from lab.messages import picture_bytes
from lab.pipelines.imaging.pictures import as_image, read_picture
from lab.schemas.chat_message import ChatMessage

KEPT_COSTS: Final = 256
"""Pictures of which it is kept how many tokens they take."""

FIELD: Final = "images"


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A prompt with pictures.

    Attributes
    ----------
    ids : list of int
        Its T tokens; a picture's place has as many as the model gives it.
    names : list of int
        The same, with numbers of a picture's own in its place: equal only where the picture is.
    n_pictured : int
        Tokens up to the end of the last picture.
    embed : callable
        Returns the (1, T, I) embeddings, pictures in their places; None where there is no picture.
    """

    ids: list[int]
    names: list[int]
    n_pictured: int = 0
    embed: Callable[[], Tensor] | None = None


class Sight:
    """
    How a chat model sees.

    Parameters
    ----------
    network : PreTrainedModel
        The weights.
    processor : ProcessorMixin
        Makes pictures ready, and gives each its tokens.
    max_pixels : int
        Of the largest picture that is taken.
    """

    def __init__(
        self, network: PreTrainedModel, processor: ProcessorMixin, max_pixels: int
    ) -> None:
        self._network = network
        self._processor = processor
        self._max_pixels = max_pixels
        self._token: str = processor.image_token
        self._token_id = int(network.config.image_token_id)
        self._costs: OrderedDict[bytes, int] = OrderedDict()  # by digest, the last used last

    def close(self) -> None:
        """Give the weights back; pictures are still counted."""
        del self._network

    def n_more(self, messages: Sequence[ChatMessage]) -> int:
        """Return the tokens that the pictures of messages take beyond their markers."""
        contents = (picture_bytes(image) for m in messages for image in m.images)
        return sum(self._cost(content) - 1 for content in contents)

    def see(self, prompt: str, messages: Sequence[ChatMessage]) -> Seen:
        """
        Return a prompt with the pictures of its messages; blocks.

        Raises
        ------
        InputError
            For what is no picture, or too large a one.
        """
        contents = [picture_bytes(image) for m in messages for image in m.images]
        pictures = self._pictures(contents)
        made = self._processor(
            text=[prompt], images=[pictures], add_special_tokens=False, return_tensors="pt"
        )
        ids: list[int] = made.pop("input_ids")[0].tolist()
        made.pop("attention_mask", None)
        places = [i for i, token in enumerate(ids) if token == self._token_id]
        digest = int.from_bytes(sha256(b"".join(sha256(c).digest() for c in contents)).digest()[:6])
        names = list(ids)
        for number, place in enumerate(places):
            names[place] = -(digest << 16) - number - 1
        return Seen(ids, names, places[-1] + 1 if places else 0, lambda: self._embed(ids, made))

    def _cost(self, content: bytes) -> int:
        """Return the tokens of a picture in a prompt; kept for the last pictures."""
        digest = sha256(content).digest()
        if digest not in self._costs:
            picture = self._pictures([content])
            made = self._processor(text=[self._token], images=[picture], add_special_tokens=False)
            self._costs[digest] = len(made["input_ids"][0])
            while len(self._costs) > KEPT_COSTS:
                self._costs.popitem(last=False)
        self._costs.move_to_end(digest)
        return self._costs[digest]

    def _pictures(self, contents: Sequence[bytes]) -> list[Picture]:
        """Return pictures that have no more pixels together than the largest one may have."""
        pictures, n_left = [], self._max_pixels
        for content in contents:
            pictures.append(self._read(content))
            n_left -= pictures[-1].width * pictures[-1].height
            if n_left < 0:
                raise DocumentTooLargeError(
                    f"`{FIELD}`: the pictures of these messages have more than "
                    f"{self._max_pixels:,} pixels together (LAB_IMAGE_MAX_UPLOAD_PIXELS); send "
                    "fewer or smaller ones."
                )
        return pictures

    def _read(self, content: bytes) -> Picture:
        picture = read_picture(content, self._max_pixels, FIELD)
        return as_image(picture, *picture.size)

    def _embed(self, ids: list[int], made: Mapping[str, Any]) -> Tensor:
        device, dtype = self._network.device, self._network.dtype
        inputs = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in made.items()
            if isinstance(value, Tensor)
        }
        return embedded(self._network, input_ids=torch.tensor([ids], device=device), **inputs)


class _Embedded(Exception):
    """The embeddings that a decoder was about to read."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings


def embedded(network: PreTrainedModel, **inputs: Tensor) -> Tensor:
    """
    Return the (1, T, I) embeddings of a prompt, its pictures in their places.

    The network puts them there itself, each architecture in its own way; it is stopped where its
    decoder begins.
    """

    def stop(_module: object, _args: object, kwargs: dict[str, Any]) -> None:
        raise _Embedded(kwargs["inputs_embeds"])

    handle = network.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        network(**inputs, use_cache=False)
    except _Embedded as found:
        return found.embeddings
    finally:
        handle.remove()
    raise RuntimeError(f"{type(network).__name__} did not call its decoder.")
