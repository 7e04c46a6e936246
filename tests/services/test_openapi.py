"""What the gateway says of itself in OpenAPI is what it does: schemathesis asks every route."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.services.conftest import Stack
from tests.services.test_accounts import token_command
from tests.support.stack import ROOT, gateway

HERE = Path(__file__).parent


def ask_everything(url: str, *arguments: str) -> str:
    """What schemathesis says after it asked all routes; fails with its findings."""
    program = str(Path(sys.executable).parent / "st")
    config = str(HERE / "schemathesis.toml")
    done = subprocess.run(
        [program, "--config-file", config, "run", f"{url}/openapi.json", "--no-color", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.services.schemathesis_hooks",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    return done.stdout


def test_no_route_answers_what_its_document_does_not_say(stack: Stack) -> None:
    said = ask_everything(stack.gateway.url)
    (asked,) = re.findall(r"Tested: (\d+)", said)
    (passed,) = re.findall(r"(\d+) generated, \1 passed", said)
    assert int(asked) >= 16
    assert int(passed) >= 300


def test_with_accounts_on_every_route_asks_for_a_token_and_says_so(
    stack: Stack, tmp_path: Path
) -> None:
    door = gateway(tmp_path, stack.server.url, n2v=stack.service.url, MICSERVE_ACCOUNTS="on")
    door.start()
    try:
        token = token_command(
            tmp_path, "create", "ada", "--role", "admin", "--requests-per-minute", "100000"
        )
        ask_everything(
            door.url,
            *("-H", f"Authorization: Bearer {token}"),
            *("--phases", "fuzzing", "--max-examples", "2"),
            *("--exclude-path-regex", "^/(fiji|livez|readyz)"),
        )
    finally:
        door.stop()
