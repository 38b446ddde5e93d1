"""Tells who a request comes from: a signed-in browser, a user's token, a company login, or what the host app says."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from starlette.requests import HTTPConnection

from treadle.web.access import AccessError, Identity, Principal, Role
from treadle.web.private import digest, new_secret, write_private
from treadle.web.sessions import Sessions, change_token
from treadle.web.throttle import Throttle
from treadle.web.users import User, Users

Authenticate = Callable[[HTTPConnection], Principal | Awaitable[Principal | None] | None]


class TooManyGuesses(AccessError):
    """This peer was wrong too often; it may try again after ``wait`` seconds."""

    def __init__(self, wait: float) -> None:
        self.wait: float = wait
        super().__init__(f"too many wrong tokens from here; try again in {wait:.0f} s")


class Door(Protocol):
    """What the guard asks about every request."""

    async def identify(self, request: HTTPConnection) -> Identity | None:
        """Who that is; ``None``: nobody known."""


class HostDoor:
    """Asks the app that ours is mounted in."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._key = new_secret()

    async def identify(self, request: HTTPConnection) -> Identity | None:
        """Whoever the host app says."""
        found = self._authenticate(request)
        who = await found if inspect.isawaitable(found) else found
        return None if who is None else Identity(who, change_token(self._key, who.name))


class TrustedProxy:
    """Believes a header that names who has signed in elsewhere, from the listed peers alone."""

    def __init__(self, header: str, peers: Sequence[str]) -> None:
        self._header = header
        self._key = new_secret()
        try:
            self._peers = [ipaddress.ip_network(peer) for peer in peers]
        except ValueError as error:
            raise AccessError(f"--trusted-proxy takes an address like 10.0.0.1 or 10.0.0.0/24: {error}") from error

    def identify(self, request: HTTPConnection, users: Users) -> Identity | None:
        """Who the proxy names, with the role that the team's list gives them; who is not listed may look."""
        named = request.headers.getlist(self._header)
        if len(named) != 1 or not self._is_peer(peer_of(request)):
            return None
        try:
            name = named[0].encode("latin-1").decode()
            who = users.all()[name].principal if name in users.all() else Principal(name, Role.VIEWER)
        except (AccessError, UnicodeDecodeError):
            return None
        return Identity(who, change_token(self._key, name))

    def _is_peer(self, peer: str) -> bool:
        try:
            return any(ipaddress.ip_address(peer) in network for network in self._peers)
        except ValueError:
            return False


class OwnDoor:
    """Signs people in: the server's own account by a link that works once, a team by tokens.

    Args:
        folder: where users and sessions are kept.
        owner: who the link signs in; without one there is no link.
    """

    def __init__(self, folder: Path, *, owner: str | None = None, proxy: TrustedProxy | None = None) -> None:
        self.cookie: str = f"treadle-{digest(str(folder.resolve()))[:12]}"
        self.users: Users = Users(folder)
        self._sessions = Sessions(folder)
        self._owner = owner
        self._proxy = proxy
        self._throttle = Throttle()
        self._link_file = folder / "sign-in"
        self._link = new_secret() if owner is not None else None

    def write_link(self, url: str) -> str | None:
        """The link that signs the owner in, once; it stands in a file of the owner's too."""
        if self._link is None:
            return None
        link = f"{url}/sign-in#{self._link}"
        write_private(self._link_file, f"{link}\n")
        return link

    def forget_link(self) -> None:
        """The link opens nothing any more."""
        self._link = None
        self._link_file.unlink(missing_ok=True)

    async def identify(self, request: HTTPConnection) -> Identity | None:
        """By ``Authorization: Bearer``, else by cookie, else by what a trusted proxy says.

        Raises:
            TooManyGuesses: wrong tokens came from there.
        """
        return await asyncio.to_thread(self._identify, request)

    def _identify(self, request: HTTPConnection) -> Identity | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._of_token(token.strip(), peer_of(request))
            return None if user is None else Identity(user.principal)
        cookie = request.cookies.get(self.cookie)
        if cookie and (who := self._of_cookie(cookie)) is not None:
            return Identity(who, change_token(cookie))
        return self._proxy.identify(request, self.users) if self._proxy is not None else None

    def _of_cookie(self, cookie: str) -> Principal | None:
        session = self._sessions.find(cookie)
        if session is None:
            return None
        if not session.proof:
            return Principal(session.name, Role.OPERATOR) if self._owner is not None else None
        user = self.users.all().get(session.name)
        return user.principal if user is not None and hmac.compare_digest(user.hash, session.proof) else None

    def _of_token(self, token: str, peer: str) -> User | None:
        if (wait := self._throttle.wait(peer)) > 0:
            raise TooManyGuesses(wait)
        user = self.users.of_token(token)
        if user is None:
            self._throttle.failed(peer)
        return user

    async def sign_in(self, token: str, peer: str) -> tuple[Principal, str] | None:
        """Who that token is for and the cookie of their session; ``None``: for nobody (any more).

        Raises:
            TooManyGuesses: wrong tokens came from there.
        """
        # The link is spent before anything is awaited: of two requests at once, one gets in.
        if self._owner is not None and self._spent(token, peer):
            await asyncio.to_thread(self._link_file.unlink, missing_ok=True)
            return Principal(self._owner), await asyncio.to_thread(self._sessions.begin, self._owner)
        user = await asyncio.to_thread(self._of_token, token, peer)
        if user is None:
            return None
        return user.principal, await asyncio.to_thread(self._sessions.begin, user.name, proof=user.hash)

    def _spent(self, token: str, peer: str) -> bool:
        if self._link is None or self._throttle.wait(peer) > 0 or not hmac.compare_digest(digest(token), digest(self._link)):
            return False
        self._link = None
        return True

    async def sign_out(self, request: HTTPConnection) -> None:
        """The session of the request's cookie has ended."""
        if cookie := request.cookies.get(self.cookie):
            await asyncio.to_thread(self._sessions.end, cookie)


def peer_of(request: HTTPConnection) -> str:
    """The address that the request came from."""
    return request.client.host if request.client is not None else ""
