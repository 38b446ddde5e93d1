"""The JSON API."""

from __future__ import annotations

from treadle.web.api import events, failures, items, reviews, stages, stats

ROUTERS = tuple(module.router for module in (reviews, items, stages, stats, failures, events))
