"""Overview, stages, items, failures and events as the server writes them."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import pytest_asyncio
from pydantic import Field

import treadle
from tests.web.conftest import app_as, web_client
from treadle import FanOut, MemoryStateStore, StageContext, StateStore, SubTask, Workflow
from treadle.clock import now_us
from treadle.state import ItemPhase
from treadle.store import Pruning
from treadle.web import Role
from treadle.web.segments import segment

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
Markdown = Annotated[str, Field(json_schema_extra={"contentMediaType": "text/markdown"})]
Picture = Annotated[str, Field(json_schema_extra={"contentMediaType": "image/png", "contentEncoding": "base64"})]
Pdf = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/pdf", "contentEncoding": "base64"})]
Page = Annotated[str, Field(json_schema_extra={"contentMediaType": "text/html"})]

BAD = "<script>alert(1)</script><img src=x onerror=alert(1)>"
MISLEADING = "safe\u202egnp.exe\x1b[31m\u200b"
POISON_ID = f"{BAD}\"'&"

many = Workflow("many")


@many.stage
async def text(item: dict[str, Any]) -> Markdown:
    return f"# Title\n\n*told* {BAD} {MISLEADING} [go](javascript:alert(1)) [out](https://example.org) ![p](https://evil.example/x.png)\n"


@many.stage
async def picture(item: dict[str, Any]) -> Picture:
    return PNG


@many.stage
async def pages(item: dict[str, Any]) -> Pdf:
    return base64.b64encode(b"%PDF-1.4 x").decode()


@many.stage
async def html(item: dict[str, Any]) -> Page:
    return base64.b64encode(BAD.encode()).decode()


@many.stage
async def tree(item: dict[str, Any]) -> dict[str, Any]:
    return {BAD: MISLEADING, "many": list(range(2000)), "long": "x" * 5000, "deep": [[[[[[BAD]]]]]]}


@many.stage
async def large(item: dict[str, Any]) -> str:
    return "large <b> " * 1_000_000


@many.stage
async def parts(item: dict[str, Any], ctx: StageContext) -> Any:
    if ctx.subtask is None:
        return FanOut([SubTask(f"part-{n:04}{BAD if n < 2 else ''}", n) for n in range(2000)])
    if ctx.subtask.data in (1, 7):
        raise ValueError(f"{BAD}{MISLEADING} torn\nsecond line")
    return ctx.subtask.data


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many_store() -> StateStore:
    store = MemoryStateStore()
    async with treadle.Engine(many, store) as engine:
        await engine.run([{"id": POISON_ID, "note": BAD}])
    return store


@pytest_asyncio.fixture
async def reader(many_store: StateStore) -> AsyncIterator[httpx.AsyncClient]:
    async with web_client(app_as(many_store, Role.OPERATOR, None)) as client:
        yield client


PATH = f"/items/{segment(POISON_ID)}"
EVERYWHERE = ["/", "/items", "/failures", "/events", "/stages/parts", *(f"{PATH}?stage={stage}" for stage in many.stages)]


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_nothing_from_data_becomes_part_of_a_page(reader: httpx.AsyncClient, path: str) -> None:
    answer = await reader.get(path)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert 'href="javascript:' not in answer.text
    assert not [c for c in answer.text if c in "\u202e\x1b\u200b"]
    assert 'src="http' not in answer.text
    assert len(answer.text) < 400_000


async def test_markdown_is_rendered_and_harmless(reader: httpx.AsyncClient) -> None:
    page = (await reader.get(f"{PATH}?stage=text")).text
    assert "<h4>Title</h4>" in page
    assert "<em>told</em>" in page
    assert '<a href="https://example.org" rel="noreferrer noopener nofollow" target="_blank">out</a>' in page
    assert "⟨202E⟩" in page


async def test_pictures_and_pdfs_are_shown_where_the_type_says_so(reader: httpx.AsyncClient) -> None:
    page = (await reader.get(f"{PATH}?stage=picture")).text
    assert f'<img src="{PATH}/stages/picture/preview"' in page
    picture = await reader.get(f"{PATH}/stages/picture/preview")
    assert (picture.headers["content-type"], picture.content) == ("image/png", base64.b64decode(PNG))
    assert picture.headers["content-security-policy"].startswith("default-src 'none'")
    assert (await reader.get(f"{PATH}/stages/pages/preview")).headers["content-type"] == "application/pdf"
    for stage in ("html", "text", "tree", "parts"):
        assert (await reader.get(f"{PATH}/stages/{stage}/preview")).status_code == 404, stage


async def test_what_is_large_is_cut_with_a_way_to_the_whole(reader: httpx.AsyncClient) -> None:
    began = time.perf_counter()
    page = (await reader.get(f"{PATH}?stage=large")).text
    assert time.perf_counter() - began < 2
    assert len(page) < 200_000
    assert "This is the beginning of 10.0 MB." in page
    assert "large &lt;b&gt; large" in page
    whole = f"/api/v1{PATH}/stages/large/artefact"
    assert whole in page
    assert (await reader.get(whole)).json() == "large <b> " * 1_000_000
    tree = (await reader.get(f"{PATH}?stage=tree")).text
    assert "4,400 more characters" in tree
    assert "This is the beginning" in tree


async def test_subtasks_are_paged_filtered_and_opened(reader: httpx.AsyncClient) -> None:
    page = (await reader.get(f"{PATH}?stage=parts")).text
    assert "1,998 completed" in page
    assert page.count('<tr><td class="state s-') <= 100
    assert "1,800 more subtasks" in page
    later = (await reader.get(f"{PATH}?stage=parts&behind=99")).text
    assert "part-0100" in later
    assert "part-0099" not in later.partition("Timeline")[0]
    failed = (await reader.get(f"{PATH}?stage=parts&children=failed&child=7")).text.partition("Timeline")[0]
    assert "part-0007" in failed
    assert "part-0008" not in failed
    assert "second line" in failed
    assert "Where it was raised" in failed


async def test_an_item_that_was_removed_says_so(store: StateStore, client: httpx.AsyncClient) -> None:
    part = "/parts/items/done-1"
    assert 'data-item="done-1"' in (await client.get(part)).text
    await store.prune(Pruning(before=now_us() + 1, phases=frozenset({ItemPhase.COMPLETED}), at=now_us(), by="ann"), 0, 100)
    gone = await client.get(part)
    assert (gone.status_code, "done-1 is no more" in gone.text) == (200, True)
    assert (await client.get("/items/done-1")).status_code == 404


@pytest.mark.parametrize("bound", [False, True])
async def test_a_store_without_items_has_pages(bound: bool) -> None:
    store = MemoryStateStore()
    if bound:
        await store.bind(many.definition)
    async with web_client(app_as(store, Role.VIEWER, None)) as client:
        for path in ("/", "/items", "/failures", "/events", "/parts/overview", "/parts/beside", "/api/v1/stats"):
            assert (await client.get(path)).status_code == 200, path
        assert ("No items yet" if bound else "no workflow yet") in (await client.get("/")).text


async def test_the_overview_leads_to_what_stands_out(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    assert 'href="/failures?stage=read" aria-label="× 1 failed in read"' in page
    assert 'href="/inbox?stage=summary" aria-label="● 3 of summary need a person"' in page
    assert "cannot read …: unreadable ink" in page
    assert "<title>read: 5 completed, 1 failed, p50" in page


async def test_filters_stay_in_the_address_of_other_pages(client: httpx.AsyncClient, store: StateStore) -> None:
    page = (await client.get("/items?stage=summary&state=awaiting_review&age=%3C1h")).text
    assert "3 on this page" in page
    assert 'hx-get="/parts/items?stage=summary&amp;state=awaiting_review&amp;age=%3C1h"' in page
    assert "<option selected>summary</option>" in page
    assert "6 items" in (await client.get("/items")).text


async def test_a_stage_shows_its_failures_reviews_and_neighbours(client: httpx.AsyncClient) -> None:
    page = (await client.get("/stages/summary")).text
    for said in ('after <a href="/stages/read"', 'before <a href="/stages/send"', "is ask-1 urgent?", "3 to a person"):
        assert said in page
    assert "cannot read …: unreadable ink" in (await client.get("/stages/read")).text


async def test_the_journal_is_filtered_and_paged(client: httpx.AsyncClient) -> None:
    page = (await client.get("/events?stage=read&kind=stage_failed")).text
    assert page.count('<tr id="e') == 1
    assert "read failed:" in page
    older = (await client.get("/events?before=5")).text
    assert older.count('<tr id="e') == 4
    assert 'hx-trigger="treadle:shown"' not in older


async def test_a_row_that_cannot_be_read_is_named_and_the_rest_goes_on(store: StateStore, store_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(store_path)) as con:
        con.execute("UPDATE stages SET state = 99 WHERE item = (SELECT id FROM items WHERE key = 'done-1') AND state = 2")
        con.commit()
    async with web_client(app_as(store, Role.VIEWER)) as client:
        page = (await client.get("/items")).text
        assert "cannot be read: item &#39;done-1&#39;" in page
        assert 'data-item="done-2"' in page
        broken = await client.get("/items/done-1")
        assert (broken.status_code, "the stored state 99" in broken.text) == (500, True)
        for path in ("/", "/failures", "/stages/read", "/events", "/api/v1/items"):
            assert (await client.get(path)).status_code == 200, path
