"""What kind of file system a store lies on."""

from __future__ import annotations

import os
import re
from pathlib import Path

ALLOW = "TREADLE_ALLOW_NETWORK_FS"
"""The environment variable that lets a store lie where locks may not hold."""

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(r"nfs\d?|cifs|smb\w*|afs|ceph|lustre|beegfs|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|davfs)|davfs")


def network_filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system that ``path`` lies on; ``None`` if it lies on none, or the system does not say.

    ``mounts`` is the text of ``/proc/self/mountinfo``, read if it is not given.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    folder = path.absolute()
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split(" ")[4]))
        # Of two mounts on one another, the later one is seen.
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind if _NETWORK.fullmatch(kind) else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def refused_as_network(path: str) -> str | None:
    """Why the store may not lie there, unless its user has said that it may."""
    if os.environ.get(ALLOW):
        return None
    kind = network_filesystem(Path(path).resolve())
    if kind is None:
        return None
    return (
        f"store {path} lies on {kind}: SQLite's locks do not hold on network file systems, and two processes would damage"
        f" the file; put it on a local disk (or set {ALLOW}=1 if only one process ever opens it)"
    )


def is_read_only(path: Path) -> bool:
    """Whether nobody can write to the file system that ``path`` lies on."""
    flags = getattr(os, "statvfs", None)
    return flags is not None and bool(flags(path).f_flag & os.ST_RDONLY)
