"""The real ImageJ in a display of its own, as a test drives it; knows nothing of micserve.

One program serves many tests: starting Java takes seconds. What a macro prints, returns and
fails with comes back; its dialogs can be read, filled, pressed and photographed.
"""

import base64
import os
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

JAR = Path(os.environ.get("MICSERVE_TEST_IMAGEJ", "/usr/share/java/ij.jar"))
GROOVY = Path("/usr/share/java/groovy-all.jar")
JYTHON = Path("/usr/share/java/jython.jar")
JYTHON_HOME = Path("/usr/share/jython")
DRIVER = Path(__file__).with_name("ImageJDriver.java")
PATIENCE_S = 120
ESCAPE = 27
MACRO_ERROR = "Macro Error"
SCREEN = "1400x1000x24"
PARAMETER = re.compile(
    r"#@(?P<output>output)? ?(?P<type>\w+) (?:\((?P<attributes>.*)\) )?(?P<name>\w+)$"
)
"""A script's parameter, as SciJava reads it."""


class MacroError(AssertionError):
    """The macro stopped at an error of ImageJ's interpreter."""


def require_imagej() -> None:
    missing = [tool for tool in ("java", "javac", "Xvfb", "curl") if not shutil.which(tool)]
    if missing or not JAR.exists():
        lacking = ", ".join([*missing, *([] if JAR.exists() else [str(JAR)])])
        pytest.skip(f"no real ImageJ here: {lacking} (apt packages imagej, xvfb, curl, a JDK)")


@dataclass
class ImageJ:
    """One ImageJ with its own home and preferences."""

    home: Path
    classes: Path | None = None
    """Of the driver, where another ImageJ has compiled it already."""
    java: tuple[str, ...] = ()
    by_hand: bool = field(default=False, init=False)
    """Whether what runs was begun by a key or the mouse, and so belongs to no macro of ours."""
    decorated: bool = False
    """Whether windows get frames and title bars, for pictures; needs openbox."""
    display: subprocess.Popen[bytes] | None = field(default=None, init=False)
    manager: subprocess.Popen[bytes] | None = field(default=None, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.classes is None:
            self.classes = self.home / "classes"
            compiler = ["javac", "-nowarn", "-cp", JAR, "-d", self.classes, DRIVER]
            subprocess.run(compiler, check=True, timeout=PATIENCE_S)
        screen = self._start_display()
        display = {**os.environ, "DISPLAY": f":{screen}", "LC_ALL": "C.UTF-8"}
        if self.decorated:
            self.manager = subprocess.Popen(["openbox"], env=display, start_new_session=True)
        (self.home / "tmp").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [
                "java", f"-Duser.home={self.home}", f"-Djava.io.tmpdir={self.home / 'tmp'}",
                f"-Dplugins.dir={self.home / 'ImageJ'}", "-Xmx1g", f"-Dpython.home={JYTHON_HOME}",
                f"-Dpython.cachedir={self.home / 'jython'}", *self.java,
                "-cp", f"{JAR}:{self.classes}:{GROOVY}:{JYTHON}", "ImageJDriver",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.home / "imagej.log").open("ab"),
            env=display,
            cwd=self.home,
            start_new_session=True,
        )  # fmt: skip

    def _start_display(self) -> str:
        reading, writing = os.pipe()
        self.display = subprocess.Popen(
            [
                "Xvfb",
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                SCREEN,
                "-nolisten",
                "tcp",
                "-wr",
            ],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return pipe.readline().strip()

    def stop(self) -> None:
        for program in (self.process, self.manager, self.display):
            if program is not None and program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()

    def ask(self, command: str, *arguments: str) -> list[str]:
        assert self.process is not None
        assert self.process.stdin is not None
        words = [command, *(base64.b64encode(str(a).encode()).decode() for a in arguments)]
        self.process.stdin.write(("\t".join(words) + "\n").encode())
        self.process.stdin.flush()
        answer = [base64.b64decode(word).decode() for word in self._answer().split("\t")[1:]]
        assert answer[0] != "problem", answer[1]
        return answer

    def _answer(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
            assert ready, "ImageJ does not answer"
            line = self.process.stdout.readline().decode()
            assert line, "ImageJ ended: " + (self.home / "imagej.log").read_text()[-2000:]
            if line.startswith("ANSWER"):
                return line.rstrip("\n")

    def begin(self, macro: str, argument: str = "") -> None:
        """Start a macro, and come back at once."""
        self.by_hand = False
        self.ask("start", macro, argument)

    def finish(self, patience_s: float = PATIENCE_S) -> str:
        """What the macro that was begun returns."""
        state, *rest = self.ask("join", str(int(patience_s * 1000)))
        if state == "running":
            self.photograph(self.home / "stuck.png")
            windows = self.windows()
            self.stop()
            self.start()
            raise AssertionError(f"the macro did not end; windows {windows}\n{rest[0]}")
        value, error = rest
        if error:
            raise MacroError(error)
        return value

    def run(self, macro: str, argument: str = "", patience_s: float = PATIENCE_S) -> str:
        self.begin(macro, argument)
        return self.finish(patience_s)

    def begin_script(self, path: Path, text: str, **given: str) -> None:
        """Start a script of Fiji's script editor, its parameters filled in as a person would."""
        lines = text.splitlines()
        asked = [match for line in lines if (match := PARAMETER.match(line))]
        outputs = " ".join(match["name"] for match in asked if match["output"])
        inputs = [match for match in asked if not match["output"]]
        unknown = given.keys() - {match["name"] for match in inputs}
        assert not unknown, f"{path.name} has no parameter {unknown}"
        words = []
        for match in inputs:
            default = re.search(r'value="?([^",)]*)', match["attributes"] or "")
            value = given.get(match["name"], default[1] if default else None)
            assert value is not None, f"{path.name} wants {match['name']}"
            words += [match["name"], match["type"], value]
        plain = "\n".join("" if line.startswith("#@") else line for line in lines)
        language = {".groovy": "groovy", ".py": "python"}[path.suffix]
        self.by_hand = False
        self.ask("script", language, plain, outputs, *words)

    def windows(self) -> list[str]:
        """`Class:title` of each window that is shown."""
        return self.ask("windows")[1:]

    def wait_for_window(self, title: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while title not in (titles := [window.partition(":")[2] for window in self.windows()]):
            if MACRO_ERROR in titles:
                raise MacroError("\n".join(self.ask("fields", MACRO_ERROR)))
            if not self.by_hand:
                state, *rest = self.ask("join", "50")
                assert state == "running", f"the macro ended before {title!r} was shown: {rest}"
            assert time.monotonic() < deadline, f"no window {title!r}, only {self.windows()}"

    def dialog(self, title: str) -> list[str]:
        """All words of a dialog, when it is there."""
        self.wait_for_window(title)
        return self.ask("fields", title)[1:]

    def fill(self, title: str, **values: str) -> None:
        self.wait_for_window(title)
        for label, value in values.items():
            self.ask("set", title, label, value)

    def set(self, title: str, label: str, value: str) -> None:
        self.wait_for_window(title)
        self.ask("set", title, label, value)

    def press(self, title: str, button: str = "OK") -> None:
        self.wait_for_window(title)
        self.ask("press", title, button)

    def escape(self) -> None:
        self.key(ESCAPE)

    def key(self, code: int) -> None:
        """A key for ImageJ's window: 27 is ESC, 111 + n is Fn."""
        if code != ESCAPE:
            self.wait_for_tools()
            self.by_hand = True
        self.ask("key", str(code))

    def click(self, tool: str, *, right: bool = False) -> None:
        """The mouse on a tool whose name begins like this."""
        self.wait_for_tools()
        self.by_hand = True
        self.ask("click", tool, "right" if right else "left")

    def wait_for_tools(self) -> None:
        """Until what the last tool or key began has ended: a person is never quicker than that."""
        deadline = time.monotonic() + PATIENCE_S
        while names := self.ask("tools")[1]:
            assert time.monotonic() < deadline, f"{names} is still at work; {self.windows()}"

    def drop(self, path: Path) -> None:
        """A file onto ImageJ's window."""
        self.by_hand = True
        self.ask("open", str(path))

    def toolset(self, name: str) -> list[str]:
        """Choose a toolset in the menu of >>; what is there, if it is not."""
        return self.ask("toolset", name)

    def log(self) -> str:
        return self.ask("log")[1]

    def photograph(self, path: Path, title: str = "") -> None:
        self.ask("picture", str(path), title)
