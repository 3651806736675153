"""The models whose servers the lab starts. Imports no torch."""

from lab.pipelines.llama_cpp.settings import llama_cpp_models
from lab.pipelines.vllm.settings import vllm_models
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.model import Model
from lab.schemas.vllm_config import VllmConfig


def served_models(vllm: VllmConfig, llama_cpp: LlamaCppConfig) -> list[Model]:
    """
    Return the catalog's entries of the models that the settings name.

    Raises
    ------
    ConfigError
        If two of one engine have one name.
    """
    return [*vllm_models(vllm), *llama_cpp_models(llama_cpp)]
