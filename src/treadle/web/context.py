"""What routes ask for: the store, the inbox, the workflow, who asks, and a page to answer with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from treadle.inbox import Inbox as _Inbox
from treadle.store import StateStore
from treadle.web.access import Principal, Role
from treadle.web.assets import HOW_TO_MEND, missing
from treadle.web.door import OwnDoor
from treadle.web.paths import path_of
from treadle.web.templating import ENVIRONMENT
from treadle.workflow import Workflow

MISSING = missing()


def store(request: Request) -> StateStore:
    """The store behind the app."""
    found: StateStore = request.app.state.store
    return found


def workflow(request: Request) -> Workflow | None:
    """The workflow, where its code is at hand; its shape is in the store in any case."""
    found: Workflow | None = request.app.state.workflow
    return found


def inbox(request: Request) -> _Inbox:
    """The reviews of the store."""
    return _Inbox(store(request), workflow(request))


def principal(request: Request) -> Principal:
    """Who asks; nobody who is not signed in gets as far as a route that wants to know.

    Raises:
        HTTPException: 401, where a route that is open to all asks.
    """
    found: Principal | None = request.scope.get("treadle.principal")
    if found is None:
        raise HTTPException(401, "sign in first")
    return found


def requires(role: Role) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that gives who asks, if that role covers ``role``.

    Example:
        .. code-block:: python

            @router.post("/items/{item_id:path}/retry")
            async def retry(item_id: str, who: Annotated[Principal, Depends(requires(Role.OPERATOR))]) -> None: ...
    """

    async def check(request: Request) -> Principal:
        who = principal(request)
        if not who.role.covers(role):
            raise HTTPException(403, f"{who.name} is a {who.role}; this takes a {role}")
        if request.method == "GET" and not path_of(request.scope).startswith("/api/"):
            await request.app.state.figures.get()  # the header of the page that is about to be made
        return who

    check.role = role  # type: ignore[attr-defined]  # what the tests of access read
    return check


Store = Annotated[StateStore, Depends(store)]
Inbox = Annotated[_Inbox, Depends(inbox)]
Flow = Annotated[Workflow | None, Depends(workflow)]
Viewer = Annotated[Principal, Depends(requires(Role.VIEWER))]
Reviewer = Annotated[Principal, Depends(requires(Role.REVIEWER))]
Operator = Annotated[Principal, Depends(requires(Role.OPERATOR))]


def link(request: Request, path: str) -> str:
    """``path`` of this app as a browser must ask for it, wherever the app is mounted."""
    return f"{request.scope.get('root_path', '')}{path}"


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page or a part of one. Templates also see ``principal``, ``token``, ``active``, ``figures``, ``url(path)``."""
    who, figures = request.scope.get("treadle.principal"), request.app.state.figures
    given = {
        "principal": who,
        "token": request.scope.get("treadle.token", ""),
        # Strangers are shown pages too, but nothing of the store.
        "figures": figures.latest if who else None,
        "workflow_name": figures.workflow if who else "",
        "root": link(request, ""),
        "url": lambda path: link(request, path),
        "active": "",
        "signs_in": isinstance(request.app.state.door, OwnDoor),
        "missing": MISSING,
        "how_to_mend": HOW_TO_MEND,
    }
    return HTMLResponse(ENVIRONMENT.get_template(template).render(given | values), status_code=status)
