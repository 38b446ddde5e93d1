"""Parts of pages that every page has."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from treadle.web.context import Viewer, render

router: APIRouter = APIRouter()


@router.get("/parts/header")
async def header(request: Request, who: Viewer, active: str = "") -> HTMLResponse:
    """The header's figures as they are now."""
    return render(request, "part_header.html", active=active)
