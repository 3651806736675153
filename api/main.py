"""The HTTP API: `uvicorn --factory api.main:create_app`."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.routing import Route

from api.bodies import refuse_half_characters
from api.errors import RESPONSES, add_error_handlers
from api.garbage import FrozenImports
from api.identity import Identity, KeyIdentity
from api.logs import configure_logs
from api.mcp import PATH, McpEndpoint
from api.metrics import Metrics
from api.middleware import RequestMiddleware
from api.routes import (
    account,
    agents,
    audio,
    chat,
    conversations,
    documents,
    embeddings,
    evals,
    facts,
    files,
    health,
    images,
    memories,
    models,
    profiles,
    rerank,
    research,
    residency,
    runs,
    store,
    thread_runs,
    threads,
    tools,
    turns,
    users,
    web,
)
from lab.config import Settings, load_settings
from lab.evals.service import Evaluations
from lab.runtime import open_runtime

ROUTERS = (
    models.router,
    profiles.router,
    residency.router,
    chat.router,
    turns.router,
    embeddings.router,
    images.router,
    rerank.router,
    audio.router,
    conversations.router,
    memories.router,
    facts.router,
    documents.router,
    tools.router,
    files.router,
    web.router,
    research.router,
    runs.router,
    threads.router,
    thread_runs.router,
    agents.router,
    store.router,
    account.router,
    evals.router,
    users.router,
    health.router,
)
"""Every resource: a new router is entered here."""


def create_app(
    settings: Settings | None = None, identity: Identity | None = None, *, quiet: bool = False
) -> FastAPI:
    """
    Build the app; database and models open at start-up, not at import.

    Parameters
    ----------
    settings : Settings, optional
        By default those of this process.
    identity : Identity, optional
        Who callers are; by default the hub where its variables are set, else API keys.
    quiet : bool
        Write no log line below a warning.
    """
    settings = settings or load_settings()
    configure_logs(settings.config.logging, quiet=quiet)
    metrics = Metrics()
    # The proxy keeps the service's prefix; the app answers with and without it.
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")  # noqa: TID251 - set by the hub
    app = FastAPI(
        title="LLM ML Lab",
        version=version("llm-ml-lab"),
        root_path=prefix.rstrip("/"),
        lifespan=_lifespan,
        dependencies=[Depends(refuse_half_characters)],
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.identity = identity or (_hub_identity() if prefix else KeyIdentity())
    app.state.started = int(time.time())
    app.add_middleware(RequestMiddleware, metrics=metrics, limits=settings.config.limits)
    add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router, responses=RESPONSES)
    app.state.mcp = McpEndpoint()
    app.router.routes.append(Route(PATH, app.state.mcp, include_in_schema=False))
    return app


def _hub_identity() -> Identity:
    from api.hub import hub_identity  # noqa: PLC0415 - imports tornado, which takes a second

    return hub_identity()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_runtime(app.state.settings, on_import=FrozenImports()) as runtime:
        app.state.runtime = runtime
        app.state.metrics.watch(runtime)
        async with (
            aclosing(Evaluations(runtime.settings, runtime.database, app)) as evaluations,
            app.state.mcp.running(),
        ):
            app.state.evaluations = evaluations
            yield
