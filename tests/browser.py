"""A headless Chromium for tests of pages, driven over a pipe (Chrome DevTools Protocol): no packages, no ports.

with Browser() as browser:                       # skips the test if no Chromium is installed
    page = browser.open(tmp_path / "page.html", width=390, height=844)
    assert page.errors == []                     # console errors, exceptions, requests that failed
    assert page.evaluate("document.title") == "…"
    page.screenshot(tmp_path / "phone.png")      # the whole page, as tall as it is
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --mute-audio "
    "--autoplay-policy=no-user-gesture-required --remote-debugging-pipe"
).split()
# The browser reads commands from file 3 and answers on file 4: put the pipes there, then become the browser.
START = """
import fcntl, os, sys
theirs = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]]
os.dup2(theirs[0], 3), os.dup2(theirs[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 60.0  # seconds for one answer, on a busy machine


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome; the environment variable CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One running browser with an empty profile of its own, closed and deleted at the end of the `with` block."""

    def __enter__(self) -> "Browser":
        path = find_browser()
        if path is None:
            pytest.skip("no Chromium or Chrome is installed (apt-get install chromium)")
        self.profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        theirs_in, self.ours_out = os.pipe()
        self.ours_in, theirs_out = os.pipe()
        browser = [path, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        command = [sys.executable, "-c", START, str(theirs_in), str(theirs_out), *browser]
        silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        self.process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), start_new_session=True, **silent)
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.buffer, self.events = 0, b"", []
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(Exception):
            self.send("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: the browser and its helpers, nothing else
        self.process.wait()
        os.close(self.ours_in)
        os.close(self.ours_out)
        self.profile.cleanup()

    def open(self, path: str | Path, width: int, height: int, scale: float = 1.0, dark: bool = False) -> "Page":
        """Open a file, or an address, in a window of that many CSS pixels, and wait until all of it is loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        page.send("Emulation.setDeviceMetricsOverride", **size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.send("Emulation.setEmulatedMedia", features=[theme])
        url = path if str(path).startswith("http") else Path(path).resolve().as_uri()
        page.send("Page.navigate", url=url)
        self.wait_for(lambda event: event["method"] == "Page.loadEventFired" and event["sessionId"] == session)
        return page

    def send(self, method: str, session: str | None = None, **params) -> dict:
        """One command, and its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, is_it) -> dict:
        """The first event, past or to come, that `is_it` accepts."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                if is_it(event):
                    return event
            seen = len(self.events)
            self.events.append(self._receive())

    def _receive(self) -> dict:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.ours_in], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self.ours_in, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError(f"the browser did not answer (exit code {self.process.poll()})")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """One open page of a Browser."""

    def __init__(self, browser: Browser, session: str):
        self.browser, self.session = browser, session

    def send(self, method: str, **params) -> dict:
        return self.browser.send(method, self.session, **params)

    def evaluate(self, expression: str):
        """The value of a JavaScript expression (promises are awaited) as JSON would carry it."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", expression))
        return result["result"].get("value")

    @property
    def errors(self) -> list[str]:
        """What went wrong so far: console errors and warnings, uncaught exceptions, requests that failed."""
        self.evaluate("0")  # fetches the events that are under way
        return [said for event in self._events() for said in _complaints(event["method"], event["params"])]

    @property
    def requests(self) -> list[str]:
        """The addresses the page asked for, embedded data left out."""
        sent = [event for event in self._events() if event["method"] == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith("data:")]

    def _events(self) -> list[dict]:
        return [event for event in self.browser.events if event.get("sessionId") == self.session]

    def screenshot(self, path: str | Path) -> Path:
        """The whole page, top to bottom, as PNG."""
        picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(picture))
        return Path(path)


def _complaints(method: str, params: dict) -> list[str]:
    if method == "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        return [details.get("exception", {}).get("description", details["text"])]
    if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
        return [" ".join(str(argument.get("value", argument.get("description"))) for argument in params["args"])]
    if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        return [f"{params['entry']['text']} {params['entry'].get('url', '')[:200]}"]
    if method == "Network.loadingFailed":
        return [f"loading failed: {params['errorText']}"]
    return []
