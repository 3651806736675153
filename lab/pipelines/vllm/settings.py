"""What the settings say of models under vLLM."""

import json
from pathlib import Path
from typing import Final

from lab.pipelines.served.command import check_no_name_twice, found_command, options
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.task import Task
from lab.schemas.vllm_config import VllmConfig
from lab.schemas.vllm_model import VllmModel

PREFIX: Final = "vllm/"


def model_id(model: VllmModel) -> str:
    """Return what requests call a model."""
    return model.name or PREFIX + Path(model.model).name


def settings_of(model: Model, config: VllmConfig) -> VllmModel:
    """Return what the settings say of a model of the catalog."""
    return next(one for one in config.models if model_id(one) == model.id)


def n_devices_of(model: VllmModel) -> int:
    """Return how many devices a model takes."""
    return model.tensor_parallel * model.pipeline_parallel


def vllm_models(config: VllmConfig) -> list[Model]:
    """
    Return the catalog's entries of the models.

    Raises
    ------
    ConfigError
        If two have one name.
    """
    models = [
        Model(
            id=model_id(one),
            task=Task.chat,
            source=one.model,
            revision=one.revision,
            engine=Engine.vllm,
            description=f"{Path(one.model).name} under vLLM.",
            context_length=one.max_length,
        )
        for one in config.models
    ]
    check_no_name_twice(models, "vllm.models")
    return models


def serve_command(
    config: VllmConfig, model: VllmModel, *, port: int, share: float, search: str
) -> list[str]:
    """
    Return the command that serves a model on a port of this machine.

    Parameters
    ----------
    config : VllmConfig
        How vLLM is started.
    model : VllmModel
        What it runs.
    port : int
        Where it answers.
    share : float
        Of each device's memory that it takes, in (0, 1].
    search : str
        Folders in which programs are looked for, as in `PATH`.

    Raises
    ------
    ModelLoadError
        If vLLM is not installed.
    """
    refusal = (
        f"`{model_id(model)}` needs vLLM, and there is no program `{config.command[0]}` here: "
        "install it beside the lab (`pip install vllm`, on Linux with an NVIDIA or AMD GPU), or "
        "say by LAB_VLLM_COMMAND how it is started."
    )
    given = options(
        {
            "host": "127.0.0.1",
            "port": port,
            "served-model-name": model_id(model),
            "gpu-memory-utilization": round(share, 4),
            "tensor-parallel-size": model.tensor_parallel,
            "pipeline-parallel-size": model.pipeline_parallel,
            "dtype": model.dtype,
            "max-model-len": model.max_length,
            "quantization": model.quantization,
            "revision": model.revision,
            "speculative-config": _speculative(model),
        }
    )
    command = found_command(config.command, search, refusal)
    return [*command, model.model, *given, *model.arguments]


def _speculative(model: VllmModel) -> str | None:
    """Return how a draft model proposes tokens (Leviathan et al., 2023), in vLLM's words."""
    if model.draft_model is None:
        return None
    return json.dumps(
        {
            "method": "draft_model",
            "model": model.draft_model,
            "num_speculative_tokens": model.draft_tokens,
        }
    )
