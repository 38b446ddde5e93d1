"""Signing in and out, and who is signed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from treadle.web.context import Viewer, link, render
from treadle.web.door import OwnDoor, TooManyGuesses, peer_of
from treadle.web.guard import SIGN_IN
from treadle.web.paths import safe_next
from treadle.web.problems import answer, wants_json
from treadle.web.sessions import LONGEST

router: APIRouter = APIRouter()


def _door(request: Request) -> OwnDoor:
    door = request.app.state.door
    if not isinstance(door, OwnDoor):
        raise HTTPException(404, "people sign in to the app that this one is mounted in")
    return door


@router.get("/sign-in")
async def sign_in_page(request: Request, next: str = "") -> HTMLResponse:  # noqa: A002 - the query's name
    """Where a link that works once is exchanged for a session, or a token is given."""
    _door(request)
    return render(request, "sign_in.html", next=_target(request, next), wrong=False)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=2000)] = "",  # noqa: A002
) -> Response:
    """The token is exchanged for a session."""
    door = _door(request)
    target = _target(request, next)
    try:
        found = await door.sign_in(token.strip(), peer_of(request))
    except TooManyGuesses as error:
        return answer(request, 429, str(error), headers={"Retry-After": f"{error.wait:.0f}"})
    if found is None:
        detail = "that link or token opens nothing (any more); a link works once"
        if wants_json(request):
            return answer(request, 401, detail)
        return render(request, "sign_in.html", status=401, next=target, wrong=True)
    who, cookie = found
    response = (
        JSONResponse({"name": who.name, "role": who.role, "next": target})
        if wants_json(request)
        else RedirectResponse(target, 303)
    )
    await door.sign_out(request)  # as whoever they were in this browser
    # Behind a proxy with TLS, only the page knows that there is one.
    is_secure = "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])
    response.set_cookie(
        door.cookie, cookie, max_age=LONGEST, path=link(request, "") or "/", secure=is_secure, httponly=True, samesite="strict"
    )  # fmt: skip
    return response


def _target(request: Request, wanted: str) -> str:
    """Where to go after signing in."""
    return safe_next(wanted) if wanted else link(request, "/")


@router.post("/sign-out")
async def sign_out(request: Request, who: Viewer) -> Response:
    """The session has ended, in this browser and on the server."""
    door = _door(request)
    await door.sign_out(request)
    response = Response(status_code=204, headers={"HX-Redirect": link(request, SIGN_IN)})
    response.delete_cookie(door.cookie, path=link(request, "") or "/", httponly=True, samesite="strict")
    return response


@router.get("/session")
async def session(request: Request, who: Viewer) -> dict[str, str]:
    """Who is signed in, and what a change must carry from now on."""
    return {"name": who.name, "role": who.role, "token": request.scope["treadle.token"]}
