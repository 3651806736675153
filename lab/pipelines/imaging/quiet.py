"""Keep what diffusers and transformers print while they load out of the log."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quietly() -> Iterator[None]:
    """Show no progress bars, and of transformers meanwhile nothing below an error."""
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
