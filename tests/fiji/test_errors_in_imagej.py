"""What goes wrong has its own words in ImageJ, and takes nothing from the user."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.support.stack import ROOT, free_port, gateway

IMAGE = 'newImage("mine", "16-bit ramp", 40, 30, 1); makeRectangle(1, 2, 5, 6);'
STATE = (
    'return "" + id + "|" + nImages + "|" + getTitle() + "|" + selectionType() + "|"'
    ' + micserve_error_kind() + "|" + micserve_error();'
)


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port whose server takes a request's head and answers with these bytes, or never."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(65536)
                if answer is None:
                    held.append(connection)
                    continue
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()


def server_at(port: int) -> str:
    return f'micserve_set("server", "http://127.0.0.1:{port}");'


def predicted(macros, before: str = "", model: str = "same", words: str = "") -> list[str]:
    said = macros(f'{before} {IMAGE} id = micserve_predict("{model}", "{words}"); {STATE}')
    identity, images, title, selection, kind, sentence = said.split("|")
    assert (identity, images, title, selection) == ("0", "1", "mine", "0"), said
    return [kind, sentence]


def test_a_server_that_is_away(macros):
    kind, sentence = predicted(macros, server_at(free_port()))
    assert kind == "away"
    assert "No micserve server answers at http://127.0.0.1:" in sentence


def test_a_name_that_is_no_computer(macros):
    kind, sentence = predicted(macros, 'micserve_set("server", "http://no-such-host.invalid/");')
    assert kind == "away"
    assert "no computer with the name" in sentence


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_known(macros, status):
    body = b'{"title": "x", "detail": "The access token \\u00e9 is not known."}'
    head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with listener(head + body) as port:
        kind, sentence = predicted(macros, server_at(port) + 'micserve_set("token", "wrong");')
    assert kind == "login"
    assert "The access token é is not known." in sentence
    assert "Server... (f11)" in sentence


@pytest.fixture
def guarded(facility, tmp_path):
    """Another gateway to the same services, which wants to know who asks; and somebody's token."""
    door = gateway(tmp_path, facility.registry_url, n2v=facility.n2v.url, MICSERVE_ACCOUNTS="on")
    make = (sys.executable, "-c", "from micserve.cli import main; main()", "token", "create", "ada")
    home = {"MICSERVE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [*make, "--role", "user"], env={**os.environ, **home}, capture_output=True, check=True
    )
    door.start()
    yield door.url, made.stdout.decode().strip()
    door.stop()


def test_a_server_with_accounts_lets_in_who_has_a_token_of_it(macros, guarded):
    url, token = guarded
    there = f'micserve_set("server", "{url}");'
    for wrong in ("", "not-a-token"):
        kind, sentence = predicted(macros, there + f'micserve_set("token", "{wrong}");')
        assert kind == "login"
        assert "Your access token is in the dialog Server... (f11)." in sentence
        macros("close();")
    right = f'{there} micserve_set("token", "{token}"); {IMAGE}'
    assert macros(right + 'return "" + (micserve_predict("same", "") != 0);') == "1"


def test_a_model_that_is_not_there(macros):
    kind, sentence = predicted(macros, model="no-such-model")
    assert kind == "model"
    assert "no-such-model" in sentence


def test_a_version_that_is_not_there(macros):
    kind, sentence = predicted(macros, model="same@99")
    assert kind == "model"
    assert "99" in sentence


def test_a_parameter_that_is_not_there(macros):
    kind, sentence = predicted(macros, words="sigma=3")
    assert kind == "input"
    assert "no parameter 'sigma'" in sentence


def test_an_image_that_is_too_large(macros):
    said = macros(
        'newImage("mine", "16-bit ramp", 4000, 4000, 1); id = micserve_predict("same", "");' + STATE
    )
    assert said.startswith("0|1|mine|-1|too-large|The upload has ")


def test_a_server_that_takes_too_long(macros):
    with listener(None) as port:
        kind, sentence = predicted(macros, server_at(port) + 'micserve_set("patience", 1);')
    macros('micserve_set("patience", 600);')
    assert kind == "time-out"
    assert "within 1 seconds" in sentence


def test_an_answer_that_breaks_off(macros):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/tiff\r\nContent-Length: 5000\r\n\r\nII*"
    with listener(head) as port:
        kind, sentence = predicted(macros, server_at(port))
    assert kind == "broken"
    assert "ended before the answer was there" in sentence


def test_a_page_of_a_proxy_is_not_taken_for_an_image(macros):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"
    with listener(page) as port:
        kind, sentence = predicted(macros, server_at(port))
    assert kind == "server"
    assert "a proxy" in sentence


def test_a_redirect_is_not_followed_with_the_token(macros):
    moved = (
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"
    )
    with listener(moved) as port:
        _, sentence = predicted(macros, server_at(port))
    assert "https://elsewhere.invalid/" in sentence


def test_a_computer_without_curl(macros):
    kind, sentence = predicted(macros, 'micserve_set("curl", "no-such-curl");')
    macros('micserve_set("curl", "curl");')
    assert kind == "curl"
    assert "curl could not be started" in sentence


def test_escape_ends_the_wait_and_says_so(macros):
    with listener(None) as port:
        macros.imagej.begin(
            macros.text(f'{server_at(port)} {IMAGE} id = micserve_predict("same", ""); {STATE}')
        )
        while macros.imagej.ask("join", "100")[0] == "running" and "x" not in macros.imagej.ask(
            "join", "300"
        ):
            macros.imagej.escape()
        said = macros.imagej.finish()
    assert said.startswith("0|1|mine|0|cancelled|You cancelled it with ESC.")


def test_a_service_that_is_stopped_in_the_middle_and_comes_back(macros, facility):
    facility.n2v.stop()
    try:
        kind, sentence = predicted(macros)
    finally:
        facility.n2v.start()
    assert kind == "busy"
    assert "is not running" in sentence
    assert macros(f'{IMAGE} return "" + (micserve_predict("same", "") != 0);') == "1"


def test_a_macro_that_does_not_ask_otherwise_stops_with_the_sentence(macros):
    code = f'{IMAGE} micserve_predict("no-such-model", ""); print("went on");'
    text = macros.text(code, on_error="stop")
    macros.imagej.begin(text)
    macros.imagej.press("Macro")
    macros.imagej.finish()
    assert "went on" not in macros.imagej.log()


def test_the_token_is_sent_and_never_shown_to_other_programs(macros):
    with listener(None) as port:
        text = macros.text(
            f'{server_at(port)} micserve_set("token", "secret-of-mine"); {IMAGE}'
            'id = micserve_predict("same", "");'
        )
        macros.imagej.begin(text)
        seen = []
        while not seen:
            seen = [p.cmdline() for p in psutil.process_iter() if p.name() == "curl"]
        assert not any("secret-of-mine" in " ".join(line) for line in seen)
        while macros.imagej.ask("join", "200")[0] == "running":
            macros.imagej.escape()
