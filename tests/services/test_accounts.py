"""Who may come in: tokens, logins, roles, groups, limits and the record, by HTTP and command."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from services.gateway.accounts.login import own_path
from services.gateway.settings import GatewaySettings
from tests.services.conftest import Stack, tiff
from tests.support.stack import ROOT, Program, free_port, gateway


def token_command(home: Path, *words: str) -> str:
    """`micserve token …` on the accounts below `home`; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from micserve.cli import main; main()", "token", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MICSERVE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def lines(home: Path) -> list[dict[str, object]]:
    text = (home / "accounts/audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real OpenID Connect provider, as a process of its own."""
    port = free_port()
    claims = {"sub": "u1", "preferred_username": "ines", "groups": ["microscopy", "staff"]}
    program = Program(
        (
            str(Path(sys.executable).parent / "oidc-provider-mock"),
            *("--port", str(port), "--user-claims", json.dumps(claims)),
        ),
        {},
        port,
        tmp_path_factory.mktemp("oidc") / "provider.log",
    )
    program.start(wait=False)
    program.wait_for("/.well-known/openid-configuration", 200)
    yield program.url
    program.stop()


@pytest.fixture(scope="module")
def guarded(
    stack: Stack, provider: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """A second gateway to the same services, with accounts."""
    home = tmp_path_factory.mktemp("guarded")
    door = gateway(
        home,
        stack.server.url,
        n2v=stack.service.url,
        MICSERVE_ACCOUNTS="on",
        MICSERVE_OIDC_ISSUER=provider,
        MICSERVE_OIDC_CLIENT_ID="micserve",
        MICSERVE_OIDC_CLIENT_SECRET="between us",
        MICSERVE_OIDC_MAINTAINERS="staff",
    )
    door.start()
    yield door
    door.stop()


@pytest.fixture
def home(guarded: Program) -> Path:
    return guarded.log.parent


@pytest.fixture
def visitor(guarded: Program) -> Iterator[httpx.Client]:
    """Somebody without a token."""
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def test_without_a_token_only_probes_and_the_login_page_answer(visitor: httpx.Client) -> None:
    refused = visitor.get("/v1/models")
    assert refused.status_code == 403
    assert refused.json()["type"] == "urn:micserve:error:access-refused"
    assert "Bearer" in refused.json()["detail"]
    for path in ("/livez", "/readyz", "/metrics", "/login", "/static/page.css"):
        assert visitor.get(path).status_code == 200, path


def test_a_token_opens_until_it_is_revoked(visitor: httpx.Client, home: Path) -> None:
    token = token_command(home, "create", "ada", "--note", "Fiji")
    assert visitor.get("/v1/models", headers=bearer(token)).status_code == 200
    answer = visitor.post("/v1/models/spots/predict", content=tiff(32, 32), headers=bearer(token))
    assert answer.status_code == 200
    assert token[:12] in token_command(home, "list", "ada")
    token_command(home, "revoke", token[:12])
    refused = visitor.get("/v1/models", headers=bearer(token))
    assert (refused.status_code, "revoked" in refused.json()["detail"]) == (403, True)


def test_a_token_is_kept_nowhere_as_it_is(visitor: httpx.Client, home: Path) -> None:
    token = token_command(home, "create", "ada")
    visitor.post("/login", data={"token": token})
    for file in home.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file


def test_a_wrong_token_is_refused_even_where_there_is_a_login(
    visitor: httpx.Client, home: Path
) -> None:
    visitor.post("/login", data={"token": token_command(home, "create", "ada")})
    assert visitor.get("/v1/models").status_code == 200
    assert visitor.get("/v1/models", headers=bearer("mic_guess")).status_code == 403
    assert visitor.get("/v1/models", headers={"Authorization": "Basic eDp5"}).status_code == 403


def test_a_login_is_a_cookie_that_other_sites_cannot_use(visitor: httpx.Client, home: Path) -> None:
    token = token_command(home, "create", "ada")
    entered = visitor.post("/login", data={"token": token, "next": "/predict"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/predict")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    path, image = "/v1/models/spots/predict", tiff(16, 16)
    assert visitor.post(path, content=image).status_code == 200
    for foreign in ({"Origin": "http://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert visitor.post(path, content=image, headers=foreign).status_code == 403
    own = {"Origin": str(visitor.base_url).rstrip("/")}
    assert visitor.post(path, content=image, headers=own).status_code == 200
    visitor.post("/logout")
    assert visitor.get("/v1/models").status_code == 403


def test_revoking_a_token_ends_the_logins_made_with_it(visitor: httpx.Client, home: Path) -> None:
    token = token_command(home, "create", "ada")
    visitor.post("/login", data={"token": token})
    token_command(home, "revoke", token)
    assert visitor.get("/v1/models").status_code == 403


def test_people_are_led_to_the_login_page_and_back(visitor: httpx.Client) -> None:
    answer = visitor.get("/models/spots?a=1", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=/models/spots%3Fa%3D1",
    )


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil", "/a\nb"])
def test_a_login_never_leads_to_another_site(path: str) -> None:
    assert own_path(path) == "/"


def test_a_model_of_a_group_is_seen_by_the_group_alone(visitor: httpx.Client, home: Path) -> None:
    inside = bearer(token_command(home, "create", "bea", "--group", "neuro"))
    outside = bearer(token_command(home, "create", "carl"))
    staff = bearer(token_command(home, "create", "root", "--role", "admin"))
    token_command(home, "share", "spots-other", "--group", "neuro")

    def names(who: dict[str, str]) -> set[str]:
        return {m["name"] for m in visitor.get("/v1/models", headers=who).json()["models"]}

    assert "spots-other" in names(inside) & names(staff)
    assert "spots-other" not in names(outside)
    assert "spots-other" not in visitor.get("/v1/models.tsv", headers=outside).text
    predict = "/v1/models/spots-other/predict"
    assert visitor.post(predict, content=tiff(16, 16), headers=inside).status_code == 200
    for path in ("", "/versions/1", "/versions/1/package", "/versions/1/qc"):
        answer = visitor.get(f"/v1/models/spots-other{path}", headers=outside)
        assert answer.status_code == 403, path
    assert visitor.post(predict, content=tiff(16, 16), headers=outside).status_code == 403
    form = {"source": tiff(16, 16), "target": tiff(16, 16)}
    judged = visitor.post("/v1/qc", files=form, data={"model": "spots-other"}, headers=outside)
    assert judged.status_code == 403
    token_command(home, "share", "spots-other")
    assert "spots-other" in names(outside)


def test_a_maintainer_moves_an_alias_under_her_name_and_a_user_does_not(
    visitor: httpx.Client, home: Path
) -> None:
    order = {"version": 1, "alias": "course", "reason": "for the course"}
    path = "/v1/models/spots-other/promote"
    user = bearer(token_command(home, "create", "hugo"))
    refused = visitor.post(path, json=order, headers=user)
    assert refused.status_code == 403
    assert "hugo has the role user; it takes a maintainer" in refused.json()["detail"]
    staff = bearer(token_command(home, "create", "ida", "--role", "maintainer"))
    made = visitor.post(path, json=order, headers=staff).json()["promotion"]
    assert (made["by"], made["reason"]) == ("ida", "for the course")
    shown = visitor.get("/v1/models/spots-other/promotions", headers=user).json()
    assert shown[0] == made
    assert [one["by"] for one in shown].count("hugo") == 0


def test_a_quality_report_that_was_begun_is_seen_by_who_began_it_and_by_staff(
    visitor: httpx.Client, home: Path
) -> None:
    mine = bearer(token_command(home, "create", "jane"))
    others = bearer(token_command(home, "create", "karl"))
    staff = bearer(token_command(home, "create", "lea", "--role", "maintainer"))
    form = {"prediction": tiff(24, 24), "target": tiff(24, 24)}
    begun = visitor.post("/v1/qc", files=form, headers={**mine, "Prefer": "respond-async"})
    address = begun.headers["location"]
    assert visitor.get(address, headers=mine).status_code == 200
    assert visitor.get(address, headers=staff).status_code == 200
    assert visitor.get(address, headers=others).status_code == 404
    assert visitor.delete(address, headers=others).status_code == 404
    assert visitor.delete(address, headers=mine).status_code == 204


def test_a_person_has_limits_of_size_and_rate(visitor: httpx.Client, home: Path) -> None:
    small = bearer(token_command(home, "create", "dora", "--max-request-mib", "1"))
    answer = visitor.post("/v1/models/spots/predict", content=bytes(2 << 20), headers=small)
    assert (answer.status_code, "1 MiB" in answer.json()["detail"]) == (413, True)
    pieces = (bytes(1 << 20) for _ in range(2))
    streamed = visitor.post("/v1/models/spots/predict", content=pieces, headers=small)
    assert streamed.status_code == 413
    slow = bearer(token_command(home, "create", "emil", "--requests-per-minute", "3"))
    answers = [visitor.get("/v1/models", headers=slow) for _ in range(5)]
    assert [a.status_code for a in answers[:3]] == [200, 200, 200]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert visitor.get("/v1/models", headers=small).status_code == 200


def test_the_record_says_who_did_what(visitor: httpx.Client, home: Path) -> None:
    token = token_command(home, "create", "fay")
    visitor.post("/v1/models/spots/predict", content=tiff(16, 16), headers=bearer(token))
    visitor.post("/v1/models/spots/predict", content=tiff(16, 16))
    made, predicted, refused = lines(home)[-3:]
    assert (made["did"], made["person"]) == ("token.create", "fay")
    assert (predicted["who"], predicted["did"], predicted["status"]) == (
        "fay",
        "POST /v1/models/{name}/predict",
        200,
    )
    assert predicted["what"] == "/v1/models/spots/predict"
    assert (refused["who"], refused["status"]) == ("nobody", 403)


def test_the_institutes_login_makes_a_person_with_role_and_groups(
    guarded: Program, home: Path
) -> None:
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        asked = browser.get(f"{guarded.url}/login/oidc?next=/predict")
        assert asked.url.host == "127.0.0.1"
        assert asked.url.port != guarded.port
        back = browser.post(str(asked.url), data={"sub": "u1"})
        assert back.status_code == 200, back.text
        assert re.search(r'url=/predict"', back.text)
        assert browser.get(f"{guarded.url}/v1/models").status_code == 200
    assert re.search(r"ines\s+maintainer\s+microscopy, staff", token_command(home, "people"))


def test_an_institutes_login_that_was_not_asked_for_is_refused(visitor: httpx.Client) -> None:
    answer = visitor.get("/login/oidc/callback?code=stolen&state=made-up")
    assert answer.status_code == 403


def test_the_gateway_does_not_start_open_to_a_network_without_being_told(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MICSERVE_HOME": str(tmp_path),
        "MICSERVE_GATEWAY_HOST": "0.0.0.0",
        "MICSERVE_ACCOUNTS": "off",
    }
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "MICSERVE_GATEWAY_PUBLIC=true" in done.stderr


@pytest.mark.parametrize(
    ("host", "public", "accounts", "on"),
    [
        ("127.0.0.1", False, "auto", False),
        ("0.0.0.0", False, "auto", True),
        ("10.1.2.3", False, "auto", True),
        ("0.0.0.0", True, "auto", False),
        ("0.0.0.0", True, "off", False),
        ("127.0.0.1", False, "on", True),
        ("::1", False, "auto", False),
    ],
)
def test_accounts_are_on_where_others_reach_the_gateway(
    host: str, public: bool, accounts: str, on: bool
) -> None:
    settings = GatewaySettings(gateway_host=host, gateway_public=public, accounts=accounts)  # type: ignore[arg-type]
    assert settings.accounts_on is on


def test_another_sites_page_cannot_use_a_server_without_accounts_either(stack: Stack) -> None:
    answer = httpx.post(
        f"{stack.gateway.url}/v1/models/spots/predict",
        content=tiff(16, 16),
        headers={"Origin": "http://elsewhere.example"},
    )
    assert answer.status_code == 403
    with pytest.raises(ValidationError):
        GatewaySettings(gateway_host="0.0.0.0", accounts="off")
