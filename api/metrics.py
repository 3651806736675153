"""What the API counts, for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.db.cache import Cache
from lab.pipelines import PipelineFactory

SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lab_http_requests",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "lab_http_request_seconds",
            "Seconds from the request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def watch(self, pipelines: PipelineFactory, cache: Cache) -> None:
        """Report the load of the models and the use of the cache with every scrape."""
        self.registry.register(_PipelineCollector(pipelines))
        self.registry.register(_CacheCollector(cache))


class _PipelineCollector(Collector):
    def __init__(self, pipelines: PipelineFactory) -> None:
        self._pipelines = pipelines

    def collect(self) -> Iterator[Metric]:
        stats = self._pipelines.stats()
        gauges = {
            "lab_active_streams": ("Answers being generated.", stats.active_streams),
            "lab_queued_requests": ("Requests that wait for a place.", stats.queued),
            "lab_models_loaded": ("Models in memory.", stats.models_loaded),
            "lab_model_leases": ("Leases on models.", stats.leases),
        }
        for name, (description, value) in gauges.items():
            yield GaugeMetricFamily(name, description, value=value)
        remote = GaugeMetricFamily(
            "lab_remote_streams", "Answers under way at other servers.", labels=["endpoint"]
        )
        for endpoint, n_streams in stats.remote_streams.items():
            remote.add_metric([endpoint], n_streams)
        yield remote
        yield from self._memory()
        yield CounterMetricFamily(
            "lab_model_evictions", "Models that left memory for others.", value=stats.evictions
        )
        yield CounterMetricFamily(
            "lab_prompt_tokens", "Prompt tokens processed.", value=stats.prompt_tokens
        )
        yield CounterMetricFamily(
            "lab_generated_tokens", "Tokens generated.", value=stats.generated_tokens
        )

    def _memory(self) -> Iterator[Metric]:
        residency = self._pipelines.residency()
        devices = GaugeMetricFamily(
            "lab_device_bytes", "Memory of devices that hold models.", labels=["device", "kind"]
        )
        for one in residency.devices:
            devices.add_metric([one.device, "free"], one.free_bytes)
            devices.add_metric([one.device, "taken"], one.taken_bytes)
            devices.add_metric([one.device, "room"], one.room_bytes)
        models = GaugeMetricFamily(
            "lab_model_bytes", "Memory that models use.", labels=["device", "model"]
        )
        for model in residency.models:
            models.add_metric([model.device, model.model], model.used_bytes)
        yield devices
        yield models


class _CacheCollector(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        stats = self._cache.stats
        counters = {
            "lab_cache_hits": ("Reads that a copy answered.", stats.hits),
            "lab_cache_misses": ("Reads that went to the database or the hub.", stats.misses),
            "lab_cache_errors": ("Answers that Redis did not give.", stats.errors),
        }
        for name, (description, value) in counters.items():
            yield CounterMetricFamily(name, description, value=value)
        yield GaugeMetricFamily(
            "lab_cache_lost",
            "1 while Redis does not answer and copies lie in the process.",
            value=int(self._cache.is_lost),
        )
