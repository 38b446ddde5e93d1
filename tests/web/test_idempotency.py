"""A change asked for twice under one key is made once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
import pytest_asyncio
from fastapi import Body, FastAPI
from starlette.requests import HTTPConnection

from tests.web.conftest import web_client
from treadle import MemoryStateStore
from treadle.web import Principal, Role, create_app, idempotency
from treadle.web.context import Reviewer

PATH = "/api/v1/made-for-this-test"


class Counter:
    def __init__(self) -> None:
        self.made: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.status = 200


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def app(counter: Counter) -> FastAPI:
    def who(request: HTTPConnection) -> Principal:
        return Principal(request.headers.get("who", "ann"), Role.OPERATOR)

    app = create_app(MemoryStateStore(), authenticate=who)

    @app.post(PATH)
    async def make(who: Reviewer, body: Annotated[Any, Body()] = None) -> dict[str, Any]:
        await counter.gate.wait()
        counter.made.append(body)
        if counter.status != 200:
            raise RuntimeError("broken")
        return {"made": len(counter.made), "who": who.name}

    return app


@pytest_asyncio.fixture
async def maker(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with web_client(app) as client:
        client.headers["Idempotency-Key"] = "k1"
        yield client


async def test_same_key_same_answer(maker: httpx.AsyncClient, counter: Counter) -> None:
    first, again = await maker.post(PATH, json={"a": 1}), await maker.post(PATH, json={"a": 1})
    assert first.json() == again.json() == {"made": 1, "who": "ann"}
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert "content-security-policy" in again.headers
    assert counter.made == [{"a": 1}]
    assert (await maker.post(PATH, json={"a": 1}, headers={"Idempotency-Key": "k2"})).json()["made"] == 2


async def test_at_once(maker: httpx.AsyncClient, counter: Counter) -> None:
    counter.gate.clear()
    asking = [asyncio.create_task(maker.post(PATH, json=1)) for _ in range(10)]
    await asyncio.sleep(0)
    asking[1].cancel()
    counter.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [answer.json()["made"] for answer in answers if isinstance(answer, httpx.Response)] == [1] * 9
    assert counter.made == [1]


async def test_other_change_under_the_same_key(maker: httpx.AsyncClient, counter: Counter) -> None:
    await maker.post(PATH, json=1)
    for url, body in ((PATH, 2), (f"{PATH}?x=1", 1)):
        refused = await maker.post(url, json=body)
        assert refused.status_code == 422
        assert "another change" in refused.json()["detail"]
    assert counter.made == [1]


async def test_keys_of_others_are_others(app: FastAPI, maker: httpx.AsyncClient, counter: Counter) -> None:
    await maker.post(PATH, json=1)
    async with web_client(app, meant=False, headers={"who": "bea", "Origin": "http://127.0.0.1", "Idempotency-Key": "k1"}) as bea:
        bea.headers["X-Treadle-Token"] = (await bea.get("/session")).json()["token"]
        assert (await bea.post(PATH, json=1)).json() == {"made": 2, "who": "bea"}


async def test_refusals_are_answers_and_failures_are_none(maker: httpx.AsyncClient, counter: Counter) -> None:
    assert (await maker.post(PATH, content=b"{", headers={"Content-Type": "application/json"})).status_code == 422
    counter.status = 500
    key = {"Idempotency-Key": "k2"}
    assert (await maker.post(PATH, json=1, headers=key)).status_code == 500
    counter.status = 200
    assert (await maker.post(PATH, json=1, headers=key)).json()["made"] == 2
    assert (await maker.post(PATH, json=1, headers=key)).json()["made"] == 2


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_odd_keys(maker: httpx.AsyncClient, counter: Counter, key: str) -> None:
    assert (await maker.post(PATH, json=1, headers={"Idempotency-Key": key})).status_code == 422
    assert counter.made == []


async def test_long_bodies_are_not_held(maker: httpx.AsyncClient, counter: Counter) -> None:
    for headers in ({}, {"Idempotency-Key": "k3"}):
        assert (await maker.post(PATH, content=b"1" * (4 * 1024 * 1024 + 1), headers=headers)).status_code == 413
    assert counter.made == []


async def test_it_does_not_grow(
    maker: httpx.AsyncClient, counter: Counter, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_MOST_KEPT", 3)
    for n in range(10):
        await maker.post(PATH, json=n, headers={"Idempotency-Key": f"k{n}"})
    assert (await maker.post(PATH, json=9, headers={"Idempotency-Key": "k9"})).json()["made"] == 10
    assert (await maker.post(PATH, json=0, headers={"Idempotency-Key": "k0"})).json()["made"] == 11
