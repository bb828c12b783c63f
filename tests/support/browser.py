"""A real browser without a window: Debian's Chromium by its driver, over WebDriver (W3C) and urllib."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waiting import until

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-extensions",
)  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
MISSING = not (shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One session. What goes wrong in the page is in `errors()`."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return _call(method, f"{self._base}/{path}", body)

    def open(self, url: str) -> None:
        self.call("POST", "url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns."""
        return self.call("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("POST", "goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def picture(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("GET", "screenshot")))
        return path

    def errors(self) -> list[str]:
        return [
            entry["message"] for entry in self.call("POST", "se/log", {"type": "browser"}) if entry["level"] == "SEVERE"
        ]

    def click(self, selector: str) -> None:
        self.call("POST", f"element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self.call("POST", f"element/{self._find(selector)}/value", {"text": text})

    def text(self, selector: str = "body") -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText || ''", selector))

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """The first true value of a function body."""
        return until(lambda: self.run(script), seconds, lambda: (self.text()[:1500], self.errors()))

    def _find(self, selector: str) -> str:
        return str(self.call("POST", "element", {"using": "css selector", "value": selector})[ELEMENT])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A fresh one, its profile gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        command = ["chromedriver", "--port=0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            port = ""
            for line in process.stdout:
                if found := re.search(r"started successfully on port (\d+)", line):
                    port = found[1]
                    break
            driver = f"http://127.0.0.1:{port}"
            options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
                      "acceptInsecureCerts": True}  # fmt: skip
            session = _call("POST", f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(driver, session)
            finally:
                _call("DELETE", f"{driver}/session/{session}")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def _call(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.loads(error.read())["value"]["message"]) from None
