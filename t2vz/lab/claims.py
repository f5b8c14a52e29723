"""Who does which run: claims, so that no run is done twice and a killed worker's run is taken over.

Workers may be processes on one machine or on many. They share a folder and nothing else, so the folder's own promises
must do: a file is created by exactly one of those who try (O_EXCL), and a folder renamed into place appears whole.

 1. A run is finished when its folder is there. Nobody claims a finished run.
 2. To claim the run KEY a worker creates the file KEY.0. One worker succeeds; the file says who: machine, process.
 3. While it works, the owner touches its file every few seconds: its heartbeat.
 4. A claim is dead if its owner released it (Ctrl-C), if its process is gone from this machine, or if its heartbeat has
    stood still for a minute. The minute is counted by the watcher's own clock from when it first saw that heartbeat:
    clocks of different machines are never compared.
 5. To take over the dead claim KEY.n a worker creates KEY.n+1; the highest number owns the run. Numbers only grow, so a
    worker that judged KEY.n late cannot push aside the one who was quicker: KEY.n+1 is there already.
 6. Whoever has claimed looks again whether the run is finished (its owner may have finished in between), and asks
    before handing in whether it still owns the run: one who slept through a minute drops what it has made.
 7. The claims of a finished run are removed, the highest first.

What is left is harmless: a worker that sleeps between its last question and the renaming hands in the same run a second
time, with the same content.
"""

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

HEARTBEAT = 5.0  # seconds
PATIENCE = 60.0  # seconds without a heartbeat; network file systems may show changes half a minute late


class Claims:
    """The claims in one folder. Workers on other machines, and other `Claims` of this process, count as others."""

    def __init__(self, folder: Path, patience: float = PATIENCE, heartbeat: float = HEARTBEAT):
        self.folder, self.patience, self.heartbeat = folder, patience, heartbeat
        self._seen: dict[Path, tuple[float, float]] = {}  # heartbeats of others, and when they were first seen
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, key: str) -> "Claim | None":
        """Claim a run; None if somebody at work has it, or was quicker."""
        number = self.newest(key)
        if number >= 0 and not self._dead(self.path(key, number)):
            return None
        path = self.path(key, number + 1)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return None
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "process": os.getpid(), "token": secrets.token_hex(4)}, file)
        return Claim(self, key, number + 1)

    def path(self, key: str, number: int) -> Path:
        """The file of a run's claim."""
        return self.folder / f"{key}.{number}"

    def newest(self, key: str) -> int:
        """The highest number that was claimed, −1 if none."""
        number = -1
        while self.path(key, number + 1).exists():
            number += 1
        return number

    def clear(self, key: str) -> None:
        """Remove all claims of a finished run, the highest first."""
        for number in range(self.newest(key), -1, -1):
            with suppress(FileNotFoundError):
                self.path(key, number).unlink()

    def _dead(self, path: Path) -> bool:
        """Rule 4. A file that is being written (no JSON yet) or removed counts as alive: look again later."""
        try:
            beat, text = path.stat().st_mtime, path.read_text(encoding="utf-8")
        except OSError:
            return False
        owner = {}
        with suppress(ValueError):
            owner = json.loads(text)
        if owner.get("released"):
            return True
        if owner.get("machine") == machine() and not _exists(owner["process"]):
            return True
        now = time.monotonic()
        if self._seen.get(path, (None, None))[0] != beat:
            self._seen[path] = (beat, now)
        return now - self._seen[path][1] > self.patience


class Claim:
    """A claim this worker owns: `with claim:` beats until the block ends, and releases it if the block fails."""

    def __init__(self, claims: Claims, key: str, number: int):
        self.claims, self.key, self.number = claims, key, number
        self.path = claims.path(key, number)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def held(self) -> bool:
        """Whether nobody has taken the run over."""
        return self.claims.newest(self.key) == self.number

    def __enter__(self) -> "Claim":
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:
            self._release()

    def _beat(self) -> None:
        while not self._over.wait(self.claims.heartbeat):
            with suppress(OSError):
                os.utime(self.path)

    def _release(self) -> None:
        """Rule 4, released: in one piece, by a rename onto the own file."""
        temporary = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}")
        with suppress(OSError):
            temporary.write_text(json.dumps({"released": True}), encoding="utf-8")
            os.replace(temporary, self.path)


def machine() -> str:
    """A name for the place where process numbers mean something: host, boot, and container."""
    parts = [platform.node()]
    with suppress(OSError):  # Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _exists(process: int) -> bool:
    """Whether a process of this machine is there. Another that has its number now looks alive for rule 4's minute."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # not ours to signal, but there
        return True
    return True
