"""A tiny random Llama that unit tests of the pipelines share."""

from pathlib import Path

import pytest

from tests.tiny_llama import save_tiny_llama


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama, window 256."""
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama", 256)
