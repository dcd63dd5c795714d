from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError
from nemo_runspec.platforms.credentials import ClientCredentials, FixedToken, find_lepton_workspace, life_of
from nemo_runspec.platforms.http import GarbledError, TransientError
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "canary-client-secret"  # noqa: S105 - made up for the test


def environment(tmp_path: Path, identifier: str = "", key: str = "", **more: str) -> dict[str, str]:
    values = {"ID": identifier, "TOKEN": key, **more}
    names = {f"LEPTON_WORKSPACE_{name}": value for name, value in values.items()}
    return {"LEPTON_CACHE_DIR": str(tmp_path), **names}


def keep(tmp_path: Path, **record: object) -> None:
    (tmp_path / "workspace_info.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")


def test_the_environment_comes_first(tmp_path: Path) -> None:
    keep(tmp_path, current_workspace="kept", workspaces={"env": {"url": "https://kept", "auth_token": "kept"}})
    found = find_lepton_workspace(
        "lepton", environment(tmp_path, "env", "t0", URL="http://127.0.0.1:1/x/", ORIGIN_URL="https://o")
    )
    assert (found.url, found.token, found.origin_url) == ("http://127.0.0.1:1/x", "t0", "https://o")
    assert found.token_from == "LEPTON_WORKSPACE_TOKEN"  # noqa: S105 - where it was found
    assert "t0" not in repr(found)


def test_what_lep_login_has_kept(tmp_path: Path) -> None:
    kept = {
        "id": "w1",
        "url": "https://api.example",
        "auth_token": "kept",
        "workspace_origin_url": "https://o",
        "token_expires_at": int(datetime(2031, 2, 3, tzinfo=UTC).timestamp() * 1000),
    }
    keep(tmp_path, current_workspace="w1", workspaces={"w1": kept})
    found = find_lepton_workspace("lepton", environment(tmp_path))
    assert (found.url, found.token, found.origin_url) == ("https://api.example", "kept", "https://o")
    assert "valid until 2031-02-03 00:00 UTC" in found.token_from


def test_a_workspace_id_may_hold_the_token(tmp_path: Path) -> None:
    found = find_lepton_workspace("lepton", environment(tmp_path, "w1:tok:en", "other"))
    assert found.token == "tok:en"  # noqa: S105 - made up for the test
    assert found.url == "https://gateway.dgxc-lepton.nvidia.com/api/v2/workspaces/w1"
    assert found.origin_url == found.url


def test_only_dgxc_needs_an_origin(tmp_path: Path) -> None:
    assert find_lepton_workspace("p", environment(tmp_path, "w", "t", URL="http://x")).origin_url is None


def test_this_processs_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ID", "TOKEN", "URL", "ORIGIN_URL"):
        monkeypatch.delenv(f"LEPTON_WORKSPACE_{name}", raising=False)
    for name, value in environment(tmp_path, "w", "t").items():
        monkeypatch.setenv(name, value)
    assert find_lepton_workspace("p").token == "t"  # noqa: S105 - made up for the test


def test_no_workspace_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeniedError, match="no Lepton workspace is known for profile 'lepton_rl'") as caught:
        find_lepton_workspace("lepton_rl", environment(tmp_path))
    assert "lep login" in str(caught.value)


def test_a_workspace_without_a_token_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeniedError, match="the Lepton workspace 'w1' has no token") as caught:
        find_lepton_workspace("lepton", environment(tmp_path, "w1"))
    assert "LEPTON_WORKSPACE_TOKEN" in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ünicode"])
def test_a_token_with_stray_characters_is_told_and_not_shown(tmp_path: Path, token: str) -> None:
    with pytest.raises(DeniedError, match="characters that no token has") as caught:
        find_lepton_workspace("lepton", environment(tmp_path, "w1", token))
    assert token not in str(caught.value)


def test_a_newline_at_the_end_of_a_token_is_nothing(tmp_path: Path) -> None:
    assert find_lepton_workspace("p", environment(tmp_path, "w", "t\n")).token == "t"  # noqa: S105 - made up


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe"])
def test_a_record_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "workspace_info.yaml").write_bytes(content)
    with pytest.raises(DeniedError, match=r"workspace_info\.yaml.* cannot be read"):
        find_lepton_workspace("lepton", environment(tmp_path))


@pytest.mark.parametrize("content", ["", "a list", "workspaces: [1]", "workspaces: {w: 3}"])
def test_a_record_of_another_shape_is_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "workspace_info.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(DeniedError, match="'w' has no token"):
        find_lepton_workspace("lepton", environment(tmp_path, "w"))


def test_a_fixed_token_has_no_other() -> None:
    fixed = FixedToken("t", "somewhere")
    assert (fixed.token(), fixed.renew("t"), fixed.origin) == ("t", False, "somewhere")
    assert "'t'" not in repr(fixed)


def jwt(**claims: object) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{middle}.signature"


@pytest.mark.parametrize(
    ("token", "expires_in", "life"),
    [
        ("opaque", 3600, 3600),
        ("opaque", None, 300),
        ("opaque", 0, 300),
        ("opaque", "3600", 300),
        (jwt(iat=100, exp=700), None, 600),
        (jwt(iat=100, exp=700), 3600, 600),
        (jwt(iat=100, exp=7000), 3600, 3600),
        (jwt(exp=700), 3600, 3600),
        (jwt(iat=700, exp=100), None, 300),
        ("a.b!.c", None, 300),
        ("a..c", None, 300),
        ("a.bnVsbA.c", None, 300),
    ],
)
def test_the_life_of_a_token(token: str, expires_in: object, life: float) -> None:
    assert life_of(token, expires_in) == life


def credentials(server: Scripted, time: FakeTime) -> ClientCredentials:
    return ClientCredentials(f"{server.url}/api/v1", "me", lambda: SECRET, profile="dgx", patience=time.patience())


def token(value: str, expires_in: float = 3600) -> Reply:
    return Reply(body={"accessToken": value, "expiresIn": expires_in})


def test_a_token_is_asked_for_once_and_kept(server: Scripted, time: FakeTime) -> None:
    server.script("POST /api/v1/token", token("t1"), token("t2"))
    credential = credentials(server, time)
    assert server.asked == []
    assert [credential.token(), credential.token()] == ["t1", "t1"]
    (asked,) = server.asked
    assert asked.json == {"grantType": "client_credentials", "clientId": "me", "clientSecret": SECRET}
    assert "Authorization" not in asked.headers
    assert SECRET not in str(vars(credential))


def test_it_is_replaced_a_minute_before_it_expires(server: Scripted, time: FakeTime) -> None:
    server.script("POST /api/v1/token", token("t1"), token("t2"))
    credential = credentials(server, time)
    credential.token()
    time.sleep(3539)
    assert credential.token() == "t1"
    time.sleep(1)
    assert credential.token() == "t2"


def test_a_short_life_is_used_for_half(server: Scripted, time: FakeTime) -> None:
    server.script("POST /api/v1/token", token("t1", 10), token("t2", 10))
    credential = credentials(server, time)
    credential.token()
    time.sleep(4)
    assert credential.token() == "t1"
    time.sleep(1)
    assert credential.token() == "t2"


def test_a_refused_token_is_forgotten_and_a_newer_one_kept(server: Scripted, time: FakeTime) -> None:
    server.script("POST /api/v1/token", token("t1"), token("t2"), token("t3"))
    credential = credentials(server, time)
    assert credential.renew(credential.token())
    assert credential.token() == "t2"
    assert credential.renew("t1")  # another thread, which was late
    assert credential.token() == "t2"


def test_threads_share_one_token(server: Scripted, time: FakeTime) -> None:
    server.script("POST /api/v1/token", token("t1"))
    entered = [threading.Event(), threading.Event()]
    go_on = threading.Event()

    def secret() -> str:
        next(event for event in entered if not event.is_set()).set()
        go_on.wait(30)
        return SECRET

    credential = ClientCredentials(f"{server.url}/api/v1", "me", secret, profile="dgx", patience=time.patience())
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(credential.token())) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered[0].wait(30)
    assert not entered[1].wait(0.2)  # the other thread waits for the token instead of asking for its own
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert got == ["t1"] * 2
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_wrong_secret_is_told_with_the_profile_and_without_the_secret(
    server: Scripted, time: FakeTime, status: int
) -> None:
    server.script("POST /api/v1/token", Reply(status=status, body={"message": f"bad {SECRET}"}))
    with pytest.raises(DeniedError, match="client_id and client_secret of profile 'dgx'") as caught:
        credentials(server, time).token()
    assert SECRET not in str(caught.value)
    assert len(server.asked) == 1


OTHER: list[tuple[Reply, type[PlatformError], str]] = [
    (Reply(status=404), RefusedError, "base_url ends with /api/v1"),
    (Reply(status=405), RefusedError, "405"),
    (Reply(body=b"<html>"), GarbledError, "no JSON"),
    (Reply(body={"idToken": "x"}), GarbledError, "without an accessToken"),
    (Reply(body={"accessToken": "two words"}), GarbledError, "without an accessToken"),
    (Reply(body=[]), GarbledError, "without an accessToken"),
    (Reply(status=503), TransientError, "503"),
    (Reply(fault="reset"), TransientError, "gave no answer"),
]


@pytest.mark.parametrize(("reply", "error", "says"), OTHER)
def test_other_answers(server: Scripted, time: FakeTime, reply: Reply, error: type[PlatformError], says: str) -> None:
    server.script("POST /api/v1/token", reply)
    with pytest.raises(error) as caught:
        credentials(server, time).token()
    assert says in str(caught.value)
    assert time.waits == []  # waiting is for the call that needs the token
