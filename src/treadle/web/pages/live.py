"""Where open pages listen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from treadle.web.context import Viewer
from treadle.web.live import Live, messages

router: APIRouter = APIRouter()
_BEAT = 15.0


@router.get("/live")
async def live(
    request: Request,
    who: Viewer,
    after: Annotated[int | None, Query(ge=0)] = None,
    age: Annotated[float, Query(ge=0, le=3600)] = 3.0,
    last_event_id: Annotated[str, Header(max_length=20)] = "",
) -> StreamingResponse:
    """Server-sent events: ``changed`` with items, stages and kinds, a few times a second at most."""
    source: Live = request.app.state.live
    if source.is_full or source.closed:
        raise HTTPException(503, "too many pages listen, or the server is about to end; try again", {"Retry-After": "5"})
    listener = await source.listen(int(last_event_id) if last_event_id.isdecimal() else after, age)
    stream = _while_signed_in(request, messages(source, listener, _BEAT))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _while_signed_in(request: Request, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines until whoever began to listen has signed out, or may not any more."""
    async for line in lines:
        if line.startswith(":") and await request.app.state.door.identify(request) is None:
            return
        yield line
