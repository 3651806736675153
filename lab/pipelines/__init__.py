"""How a model runs: catalog, engine, one pipeline per task. Importing this imports no torch."""

from lab.pipelines.catalog import DEFAULT_PROFILE
from lab.pipelines.factory import PipelineFactory, pipeline_factory
from lab.pipelines.run import embed_pipeline, run_pipeline, stream_pipeline

__all__ = [
    "DEFAULT_PROFILE",
    "PipelineFactory",
    "embed_pipeline",
    "pipeline_factory",
    "run_pipeline",
    "stream_pipeline",
]
