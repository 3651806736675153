"""How a model runs: catalog, engine, one pipeline per task. Importing this imports no torch."""

import logging

from lab.pipelines.catalog import DEFAULT_PROFILE
from lab.pipelines.factory import PipelineFactory, pipeline_factory
from lab.pipelines.run import embed_pipeline, run_pipeline, stream_pipeline

# On some CPUs it warns, whenever it is imported, of a kernel that it would download.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__all__ = [
    "DEFAULT_PROFILE",
    "PipelineFactory",
    "embed_pipeline",
    "pipeline_factory",
    "run_pipeline",
    "stream_pipeline",
]
