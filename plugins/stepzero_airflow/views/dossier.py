"""The tab *Dossier* of a run: what is known of the version that it made, or what the gate said of its batch.

Of a run of the watch it is what the triage decided, and why.

The page was written by a stage and escapes all that came from data. It is served with a content security policy
that lets one script through, ours, which makes it light or dark as Airflow is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from stepzero.spec.plan import run_folder
from stepzero_airflow.runs import open_store, pointer_uri, read_if_there, watch_run

if TYPE_CHECKING:
    from fastapi import FastAPI

    from stepzero.adapters.store import Store

PREFIX = "/stepzero"
DAG_ID = r"^[A-Za-z0-9_.-]{1,250}$"
RUN_ID = r"^[A-Za-z0-9_.~:+-]{1,250}$"
"""Airflow's own default pattern for the ids of runs; neither can leave a folder."""
SCRIPT = """if(parent!==window){try{const airflow=parent.document.documentElement;const follow=()=>{
document.documentElement.className=airflow.classList.contains("dark")?"dark":"light"};follow();
new MutationObserver(follow).observe(airflow,{attributes:true,attributeFilter:["class"]})}catch(error){}}"""
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    f"script-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OWN_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy"[^>]*>')
"""The page's own, for where no server sends one; it would stop our script."""
SHOWN = (("approve", "dossier_page"), ("register", "dossier_page"), ("quality_gate", "report"), ("triage", "page"))
"""Stage and its output, the most telling first."""
_REFUSED = {401: "Log in to Airflow first.", 403: "Airflow does not let you see runs of this Dag."}


class LazyApp:
    """The application, built when the first request comes: every Airflow process imports plugins."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if self._app is None:
            self._app = make_app()
        await self._app(scope, receive, send)


def make_app() -> FastAPI:
    """Return the application with its one page."""
    from fastapi import Depends, FastAPI, Path, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse
    from starlette.exceptions import HTTPException

    from stepzero_airflow.views.access import may_see_runs

    app = FastAPI(title="Stepzero", docs_url=None, redoc_url=None, openapi_url=None)

    # Defaults, not annotations: FastAPI does not find what a function imports.
    def dossier(dag_id: str = Path(pattern=DAG_ID), run_id: str = Path(pattern=RUN_ID)) -> Any:
        status, page = find_page(dag_id, run_id)
        return HTMLResponse(themed(page), status_code=status, headers=HEADERS)

    def refused(_: Request, error: Any) -> HTMLResponse:
        status = getattr(error, "status_code", 404)
        said = _REFUSED.get(status, "There is no such page.")
        return HTMLResponse(themed(_polite(said)), status_code=status, headers=HEADERS)

    allowed = [Depends(may_see_runs())]
    app.add_api_route("/dossier/{dag_id}/{run_id}", dossier, dependencies=allowed, response_class=HTMLResponse)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refused)
    return app


def find_page(dag_id: str, run_id: str) -> tuple[int, bytes]:
    """Return the status and the page of a run: a polite word where there is nothing to show."""
    from stepzero.spec.load import load_environment
    from stepzero_airflow.views.access import run_exists

    if not run_exists(dag_id, run_id):
        return 404, _polite("Airflow knows no such run.")
    store = open_store(load_environment())
    for run in (run_id, watch_run(run_id)):
        use_case = use_case_of(store, dag_id, run_id, run)
        found = stored_page(store, use_case, run) if use_case else None
        if found is not None:
            return 200, found
    told = (
        "It appears when the quality gate has judged the batch, and grows into the dossier of the version; of a watch, "
    )
    told += "when the triage has decided. Dags without these stages have none."
    return 200, _polite(f"There is nothing to read about this run yet. {told}")


def use_case_of(store: Store, dag_id: str, run_id: str, run: str | None = None) -> str | None:
    """Return the use case whose run this is: that of the DAG's name, or another one whose plan names this DAG.

    Args:
        store: Where plans lie.
        dag_id: Airflow's id of the DAG ...
        run_id: ... and of its run.
        run: The run's name in the store, where it has another one there.
    """
    folders = store.files.ls(store.path("runs"), detail=False) if store.exists("runs") else []
    names = sorted({str(folder).rstrip("/").rpartition("/")[2] for folder in folders}, key=lambda one: one != dag_id)
    for name in names:
        plan = read_if_there(store, f"{run_folder(name, run or run_id)}/plan.json")
        # A run of the watch is never the training DAG's, whose name is the use case's.
        if plan and _is_of(plan, dag_id, run_id, name if run in {None, run_id} else ""):
            return name
    return None


def stored_page(store: Store, use_case: str, run_id: str) -> bytes | None:
    """Return the most telling page that the stages of a run wrote."""
    for stage, output in SHOWN:
        noted = _pointers(store, use_case, run_id, stage)
        pages = [page for pointer in noted if (page := _page(store, pointer, output))]
        if pages:
            # Of several tables, the one that was refused.
            return next((page for refused, page in pages if refused), pages[0][1])
    return None


def _pointers(store: Store, use_case: str, run_id: str, stage: str) -> list[dict[str, Any]]:
    """Return what a run noted of a stage: once, or once for each table."""
    folder = pointer_uri(use_case, run_id, stage).rpartition("/")[0]
    uris = store.list(folder) if store.exists(folder) else []
    return [read_if_there(store, uri) for uri in uris if uri.endswith(".json") and ".error-" not in uri]


def _page(store: Store, pointer: dict[str, Any], output: str) -> tuple[bool, bytes] | None:
    """Return whether the stage said no, and the page that it wrote."""
    noted = pointer.get("result") or {}
    result = read_if_there(store, noted["uri"]) if noted else {}
    told = (result.get("outputs") or {}).get(output)
    if not told or not store.exists(told["uri"]):
        return None
    with store.open(told["uri"]) as stream:
        return noted.get("outcome") == "FAIL", bytes(stream.read())


def themed(page: bytes) -> bytes:
    """Return a page that is light or dark as Airflow is, its own policy left to the headers."""
    script = f"<script>{SCRIPT}</script></head>".encode()
    return _OWN_POLICY.sub(b"", page, count=1).replace(b"</head>", script, 1)


def _is_of(plan: dict[str, Any], dag_id: str, run_id: str, use_case: str) -> bool:
    """Tell whether a plan was made by this DAG's run; whoever may see one DAG may not see another's run."""
    link = (plan.get("links") or {}).get("airflow")
    if not link:
        return use_case == dag_id
    return urlsplit(str(link)).path.endswith(f"/dags/{dag_id}/runs/{quote(run_id, safe='')}")


def _polite(said: str) -> bytes:
    from stepzero.adapters.pages import page

    return page("Dossier", sentence=said)
