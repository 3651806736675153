"""What supervisors and monitoring ask."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.deps import RuntimeDep

router = APIRouter(tags=["health"])


@router.get("/", include_in_schema=False)
async def lead_to_the_documents(request: Request) -> RedirectResponse:
    """Show a person what there is; the hub looks here every minute whether the service answers."""
    return RedirectResponse(f"{request.scope['root_path']}/docs")


@router.get("/healthz")
async def is_alive() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "alive"}


@router.get("/readyz")
async def is_ready(runtime: RuntimeDep) -> dict[str, str]:
    """Answer when the database does, say where copies lie and what keeps failing; 503 otherwise."""
    await runtime.database.check()
    failing = [f"{b.kind} {b.shown}" for b in runtime.breakers if b.state != "closed"]
    told = {"failing": ", ".join(dict.fromkeys(failing))} if failing else {}
    return {"status": "ready", "cache": runtime.cache.state, **told}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text format."""
    text = generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
