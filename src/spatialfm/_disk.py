"""Files that the package keeps between calls: put in place whole, taken away at once, swept after the dead.

A process may be killed between any two steps. So nothing is written in its final place: it is written next to it and
renamed. Nothing is deleted where it is looked for either: it is renamed first, so that what is half deleted bears
another name. What a dead process leaves behind is recognised by its name, which contains the writer.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_BESIDE = re.compile(r"\.(?P<host>.+)-(?P<pid>\d{1,10})-[0-9a-f]+\.partial")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)  # the place, by something of another kind
_REMOVED = re.compile(r"\.[0-9a-f]{32}\.removed")
_HOLDER = re.compile(r"\.(?P<folder>.+)\.holder-[0-9a-f]{32}\.json")


def name_beside() -> str:
    """A name for what is being written, of this process; short, as a name may be no longer than 255 bytes."""
    return f".{platform.node()}-{os.getpid()}-{uuid.uuid4().hex}.partial"


@contextmanager
def written_beside(path: Path, unless: Callable[[], bool] | None = None) -> Iterator[Path]:
    """A path to write a file or folder at; it takes the place of `path` when the block ends well.

    Parameters
    ----------
    path
        Where it belongs.
    unless
        Says of what another process has put there meanwhile whether it stays.

    Raises
    ------
    OSError
        If it cannot be written or put there. No other file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(name_beside())
    try:
        yield partial
        _put(partial, path, unless or (lambda: False))
    finally:
        _delete(partial)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under another name, bring it to disk, and put it in place.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    with written_beside(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put(partial: Path, path: Path, unless: Callable[[], bool]) -> None:
    """Rename to a place that a file, or an empty or full folder may have taken: that one is discarded."""
    if unless():
        return
    try:
        os.replace(partial, path)
    except OSError as error:
        if unless():
            return
        if error.errno not in _TAKEN:  # for example a full disk: what is there stays
            raise
        discard(path)
        os.replace(partial, path)


def discard(path: Path) -> None:
    """Take a file or folder away: no process finds it half deleted, even if this process is killed meanwhile.

    Of a link, the link goes. What cannot be removed stays.
    """
    if not os.path.lexists(path):
        return
    away = path.with_name(f".{uuid.uuid4().hex}.removed")
    try:
        os.replace(path, away)
    except OSError:  # a mount point, or a file that is open where these cannot be renamed
        away = path
    _delete(away)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sweep(folder: Path) -> None:
    """Remove from a folder what was to be removed, and what dead processes of this machine have left half written."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        match = _BESIDE.fullmatch(name)
        dead = match and match["host"] == platform.node() and not runs(int(match["pid"]))
        if _HOLDER.fullmatch(name):
            dead = _living(folder / name) is None
        if dead or _REMOVED.fullmatch(name):
            _delete(folder / name)


@dataclass(frozen=True)
class Holder:
    """A process that uses a folder.

    Attributes
    ----------
    host, pid, since
        Where it runs, its number, and when it began to use the folder (local time, for people only).
    started
        When it was started, as the system counts it: of two processes of one number, which. "" if not known.
    path
        The file of the mark.
    """

    host: str
    pid: int
    since: str
    started: str = ""
    path: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; never known of other machines."""
        if self.host != platform.node():
            return False
        return not runs(self.pid) or bool(self.started) and _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Hold:
    """The mark of a process that uses a folder, stored next to it, so that no other removes it.

    It is not a lock: several may use a folder, and see who the others are. No clock decides anything: one that holds is
    believed as long as its process lives, and one that was killed is found out by its number and start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder.with_name(f".{self.folder.name}.holder-{uuid.uuid4().hex}.json")

    def take(self) -> None:
        """Say it (again, where it was removed meanwhile).

        Raises
        ------
        OSError
            If it cannot be written.
        """
        own_mark = Holder(
            platform.node(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), _started(os.getpid()), str(self.path)
        )
        write_bytes(self.path, json.dumps(asdict(own_mark)).encode())

    def release(self) -> None:
        """Say it no longer."""
        with suppress(OSError):
            self.path.unlink()

    def others(self) -> list[Holder]:
        """Who else uses the folder; what the dead have left is cleared."""
        return [one for one in holders(self.folder) if one.path != str(self.path)]


def holders(folder: Path) -> list[Holder]:
    """Processes that use a folder, as far as known; marks of dead ones are removed."""
    folder, living = Path(folder), []
    with suppress(OSError):
        for name in sorted(os.listdir(folder.parent)):
            match = _HOLDER.fullmatch(name)
            if match and match["folder"] == folder.name:
                holder = _living(folder.with_name(name))
                if holder is None:
                    _delete(folder.with_name(name))
                else:
                    living.append(holder)
    return living


def _living(path: Path) -> Holder | None:
    """The process of a mark, unless known to be dead."""
    # it was put there whole: one that cannot be read is damaged, and belongs to no process
    try:
        mark = json.loads(path.read_bytes())
        holder = Holder(str(mark["host"]), int(mark["pid"]), str(mark["since"]), str(mark["started"]), str(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if holder.is_dead else holder


def runs(pid: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state = _stat(pid)
    return not state or state[0] != "Z"  # one that was killed, and whose parent has not asked yet how it ended


def _started(pid: int) -> str:
    """Boot and tick at which a process was started, if the system states it (Linux): independent of the clock."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {_stat(pid)[19]}"
    except (OSError, IndexError):
        return ""


def _stat(pid: int) -> list[str]:
    # the name of the program, in parentheses, may hold anything
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []
