"""The application: what is asked by HTTP goes to the desk, and comes back as SDF or JSON."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..chem.formats import SDF, parsed
from ..viewer.collection import Collection
from ..viewer.html_page import page
from .ask import Ask
from .desk import Busy, Desk, Job

STATIC = Path(str(files(__package__))) / "static"
SDF_TYPE = "chemical/x-mdl-sdfile"
LOCAL = ("127.0.0.1", "localhost", "[::1]")
BODY_SECONDS = 30.0  # for a body to arrive
SAID = {404: "there is no such job; results are kept for a while only", 408: "the body took too long to arrive"}
ASKED = {"requestBody": {"required": True, "content": {
    "application/json": {"schema": {"$ref": "#/components/schemas/Ask"}},
    "multipart/form-data": {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}},
}}}  # fmt: skip
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {SDF_TYPE: {}, "application/json": {}}, "description": "Conformers, as the header Accept has it"},
    413: {"description": "The body is too large"},
    422: {"description": "What is asked makes no sense, or is too much; the sentence says what"},
    429: {"description": "Too many requests wait"},
    503: {"description": "Not done in time, or the server is about to end"},
}


class Bounded:
    """Refuses bodies of more than `most` bytes, told or not, with 413."""

    def __init__(self, app: ASGIApp, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = HTTPException(413, f"the body has more than {self.most} bytes; send it in several requests")
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self.most:
            await JSONResponse({"detail": refusal.detail}, 413)(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise refusal
            return message

        await self.app(scope, limited, send)


async def asked(request: Request) -> Ask:
    """What a request asks: JSON, or a form with a file and options.

    Raises:
        HTTPException: 422 for what is no such thing, 408 where it does not arrive.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                async with request.form(max_files=1, max_fields=20) as form:
                    values: dict[str, Any] = {}
                    for name, value in form.items():
                        values["sdf" if name == "file" else name] = (
                            value if isinstance(value, str) else (await value.read()).decode("utf-8", "replace")
                        )
            else:
                values = json.loads(await request.body())
        return Ask.model_validate(values)
    except TimeoutError as error:
        raise HTTPException(408, SAID[408]) from error
    except ValidationError as error:
        raise HTTPException(422, _sentence(error)) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body is no JSON: {error}") from error


def _sentence(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    places = (".".join(str(p) for p in e["loc"] if p != "function-after[_one_source(), Ask]") for e in found)
    return "; ".join(f"{place}: {e['msg']}".removeprefix(": ") for place, e in zip(places, found[:5], strict=False))


def answer(job: Job, accept: str) -> Response:
    """What came of a job: SDF, or JSON where the client prefers that."""
    if job.status != 200:
        headers = {"Retry-After": "10"} if job.status == 503 else {}
        raise HTTPException(job.status, job.problem, headers)
    job.fetched = True
    headers = {"X-Skipped": str(len(job.skipped)), "X-Job": job.id}
    if "application/json" in accept:
        skipped = [{"name": name, "reason": reason} for name, reason in job.skipped]
        return JSONResponse({"molecules": job.molecules, "skipped": skipped, "remarks": job.remarks}, headers=headers)
    return PlainTextResponse(job.sdf, media_type=SDF_TYPE, headers=headers)


def shown(job: Job) -> str:
    """A page to look at what came of a job."""
    collection = Collection()
    raw = SDF.split(iter(job.sdf.splitlines(keepends=True)), job.id, lambda text: None)
    for index, block in enumerate(raw):
        collection.add(parsed(SDF, index, block, True), lambda name, reason: None)
    notes = [f"{name}: {reason}" for name, reason in job.skipped[:20]]
    return page(collection, "Conformers", notes)


def make_app(desk: Desk, hosts: tuple[str, ...] = LOCAL) -> FastAPI:
    """The application around a desk.

    Args:
        hosts: names in the header Host that it answers to, so that no page elsewhere can pretend to be it; ("*",) for all.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(title="pyg_diffusion", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    app.add_middleware(Bounded, most=desk.limits.body)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.desk = desk

    @app.middleware("http")
    async def counted(request: Request, onwards: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await onwards(request)
        desk.counts.answers.labels(str(response.status_code)).inc()
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.exception_handler(RequestValidationError)
    async def unclear(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(e["msg"] for e in error.errors()[:5])}, 422)

    _add_work(app, desk)
    _add_pages(app, desk)
    schema = app.openapi

    def with_ask() -> dict[str, Any]:
        found = schema()
        own = Ask.model_json_schema(ref_template="#/components/schemas/{model}")
        found.setdefault("components", {}).setdefault("schemas", {})["Ask"] = own
        return found

    app.openapi = with_ask  # type: ignore[method-assign]
    return app


def _add_work(app: FastAPI, desk: Desk) -> None:
    """What makes conformers."""

    def submitted(ask: Ask) -> Job:
        try:
            return desk.submit(ask)
        except Busy as error:
            raise HTTPException(error.status, str(error), {"Retry-After": "5"}) from error

    def found(id: str) -> Job:
        job = desk.jobs.get(id)
        if job is None:
            raise HTTPException(404, SAID[404])
        return job

    @app.post("/api/conformers", openapi_extra=ASKED, responses=ANSWERS, response_class=Response)
    async def conformers(request: Request) -> Response:
        """Conformers of molecules; waits until they are made."""
        job = submitted(await asked(request))
        ended = asyncio.wrap_future(job.ended)
        while not ended.done():
            await asyncio.wait([ended], timeout=1.0)
            if not ended.done() and await request.is_disconnected():
                desk.cancel(job)
        return answer(job, request.headers.get("accept", ""))

    @app.post("/api/jobs", status_code=202, openapi_extra=ASKED, responses={k: v for k, v in ANSWERS.items() if k != 200})
    async def begin(request: Request) -> dict[str, Any]:
        """The same, without waiting: gives the job's id."""
        return submitted(await asked(request)).state()

    @app.get("/api/jobs/{id}")
    async def progress(id: str) -> dict[str, Any]:
        """How far a job has come."""
        return found(id).state()

    @app.get("/api/jobs/{id}/conformers", responses=ANSWERS, response_class=Response)
    async def result(id: str, request: Request) -> Response:
        """What came of a job; 409 before it is done."""
        job = found(id)
        if not job.status:
            raise HTTPException(409, "the job is not done yet")
        return answer(job, request.headers.get("accept", ""))

    @app.get("/api/jobs/{id}/page", response_class=HTMLResponse)
    async def look(id: str) -> HTMLResponse:
        """A page to look at what came of a job, which needs nothing else."""
        job = found(id)
        if job.status != 200:
            raise HTTPException(409, "there is nothing to look at")
        job.fetched = True
        return HTMLResponse(await asyncio.wrap_future(desk.errand(lambda: shown(job))))

    @app.delete("/api/jobs/{id}", status_code=204)
    async def cancel(id: str) -> None:
        """Give a job up."""
        desk.cancel(found(id))


def _add_pages(app: FastAPI, desk: Desk) -> None:
    """The page, the documentation, and what a caretaker asks."""

    @app.get("/", include_in_schema=False)
    async def front() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="pyg_diffusion",
            swagger_js_url="/static/swagger/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger/swagger-ui.css",
            swagger_favicon_url="data:,",
        )

    @app.get("/healthz")
    async def health() -> JSONResponse:
        """Whether it takes requests: 503 where it is about to end."""
        state = {"status": "draining" if desk.draining else "ok", "version": __version__, "waiting": desk.waiting}
        return JSONResponse(state, 503 if desk.draining else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        desk.counts.waiting.set(desk.waiting)
        return Response(generate_latest(desk.counts.registry), media_type=CONTENT_TYPE_LATEST)
