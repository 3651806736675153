"""What the API counts, for Prometheus."""

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.db.cache import Cache
from lab.pipelines import PipelineFactory
from lab.runtime import Runtime
from lab.workflows.breakers import Breakers
from lab.workflows.tools import Toolbox

SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120)

OPEN = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
"""States of a breaker as numbers."""


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

    def watch(self, runtime: Runtime) -> None:
        """Report the load of the models, the use of cache and tools, and what keeps failing."""
        self.registry.register(_PipelineCollector(runtime.pipelines))
        self.registry.register(_CacheCollector(runtime.cache))
        self.registry.register(_ToolCollector(runtime.toolbox))
        self.registry.register(_BreakerCollector(runtime.breakers))


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


class _ToolCollector(Collector):
    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    def collect(self) -> Iterator[Metric]:
        stats = self._toolbox.stats
        counters = {
            "lab_tool_calls": ("Calls of the lab's tools.", stats.calls),
            "lab_tool_failures": ("Calls that had an error as their result.", stats.failures),
            "lab_tool_cached": ("Calls that a kept result answered.", stats.cached),
        }
        for name, (description, counts) in counters.items():
            family = CounterMetricFamily(name, description, labels=["tool"])
            for tool, count in counts.items():
                family.add_metric([tool], count)
            yield family


class _BreakerCollector(Collector):
    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "lab_breaker_open",
            "1 while a model or tool that kept failing is not asked, 0.5 once one may try.",
            labels=["kind", "name"],
        )
        opened = CounterMetricFamily(
            "lab_breaker_openings", "Times that it kept failing.", labels=["kind", "name"]
        )
        worst: dict[tuple[str, str], float] = {}
        n_opened: Counts[tuple[str, str]] = Counts()
        for breaker in self._breakers:  # several have one name: those of users' own tools
            about: tuple[str, str] = (breaker.kind, breaker.shown)
            worst[about] = max(worst.get(about, 0.0), OPEN[breaker.state])
            n_opened[about] += breaker.n_opened
        for labels, state in worst.items():
            states.add_metric(labels, state)
            opened.add_metric(labels, n_opened[labels])
        yield states
        yield opened
