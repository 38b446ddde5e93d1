"""The pages people see."""

from __future__ import annotations

from treadle.web.pages import events, failures, inbox, item, items, live, overview, parts, sign_in, stage

ROUTERS = tuple(module.router for module in (sign_in, parts, live, overview, stage, items, item, inbox, failures, events))
