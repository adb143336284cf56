"""A headless Chromium for tests, driven by its DevTools protocol over a pipe; nothing but the browser is needed."""

import base64
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--force-color-profile=srgb")
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")


class Browser:
    """One page of a browser.

    Args:
        profile: Empty folder for it.
    """

    def __init__(self, profile: Path) -> None:
        down, self._commands = os.pipe()
        answers, up = os.pipe()
        start = f'exec chromium "$@" 3<&{down} 4>&{up}'
        line = ["bash", "-c", start, "bash", *FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(line, pass_fds=(down, up), stderr=subprocess.DEVNULL)
        for end in (down, up):
            os.close(end)
        self._answers = os.fdopen(answers, "rb")
        self._numbers, self._session, self.errors = itertools.count(1), "", list[str]()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; errors of the page that come meanwhile are kept."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        command |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, path: Path, width: int = 1280, height: int = 1400) -> None:
        """Open a file at a size of the window in pixels, and wait until it has loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.errors.clear()
        self.send("Page.navigate", url=path.as_uri())
        while (event := self._read()).get("method") != "Page.loadEventFired":
            self._note(event)

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, once it is known."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **options: Any) -> None:
        """Press, move or release the mouse, or turn its wheel."""
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **options)

    def click(self, expression: str) -> None:
        """Click on the middle of an element, by a real mouse, so that it gets the focus."""
        box = f"(({expression}).scrollIntoView({{block: 'nearest'}}), ({expression}).getBoundingClientRect())"
        x, y = self.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("Pressed", "Released"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def key(self, name: str) -> None:
        """Press and release a key where the focus is."""
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            code = KEYS.get(name, ord(name[0]))
            self.send("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, text=text)

    def screenshot(self, path: Path) -> None:
        """Write what is shown as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser as a user does, so that it keeps what pages have stored."""
        self._session = ""
        self.send("Browser.close")
        self._process.wait()
        self._answers.close()
        os.close(self._commands)

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            content += byte
        return dict(json.loads(content))

    def _note(self, event: dict[str, Any]) -> None:
        entry = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(entry["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" or entry.get("type") in ("error", "warning"):
            self.errors.append(str(entry))
        if event.get("method") == "Network.requestWillBeSent":
            url = entry["request"]["url"]
            assert url.startswith(("file:", "data:")), url
