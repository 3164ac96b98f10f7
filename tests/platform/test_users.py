"""A platform that asks who calls: our clients with and without a user's token, against NVIDIA's own services.

NVIDIA's switch for tokens without a signature stands in for an identity provider. On the first platform nobody has a
role, so whom it knows it answers 403, and whom it does not know 401. On the second NVIDIA's seeding gives the roles.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from nemo_platform.auth.helpers import generate_unsigned_jwt

from nemostack.clients import Timeouts
from nemostack.clients.nim import Nim
from nemostack.clients.platform import USER_VARIABLE, Platform, access_token
from nemostack.errors import ServiceError
from nemostack.outputs import gateway_url
from tests.deadlines import Deadline
from tests.platform.conftest import running_platform

TIMEOUTS = Timeouts(read=30)
TOKEN = str(generate_unsigned_jwt("user@example.com", email="user@example.com"))


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    with running_platform(folder, auth="{enabled: true, allow_unsigned_jwt: true}") as url:
        yield url


def refusals(url: str) -> list[ServiceError]:
    """What the platform and its gateway say to whom the environment names."""
    with closing(Platform(url, TIMEOUTS)) as platform, pytest.raises(ServiceError) as of_platform:
        platform.models()
    gateway = Nim(gateway_url(url), TIMEOUTS, max_retries=0, api_key=access_token())
    with closing(gateway), pytest.raises(ServiceError) as of_gateway:
        gateway.models()
    return [of_platform.value, of_gateway.value]


def test_without_a_token_nobody_is_known_and_the_message_says_how_to_get_one(
    guarded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(USER_VARIABLE, raising=False)
    said = refusals(guarded_url)
    assert [one.status for one in said] == [401, 401]
    assert "nemo auth login" in (said[0].hint or "")


def test_the_token_of_the_environment_says_who_it_is(guarded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER_VARIABLE, TOKEN)
    assert [one.status for one in refusals(guarded_url)] == [403, 403]


def test_a_broken_token_is_refused_and_not_shown(guarded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER_VARIABLE, "not-a-token-of-anybody")
    said = refusals(guarded_url)
    assert [one.status for one in said] == [401, 401]
    assert all("not-a-token-of-anybody" not in f"{one} {one.hint}" for one in said)


def _has_a_role(platform: Platform) -> bool:
    try:
        platform.models()
    except ServiceError as error:
        if error.status == 403:
            return False
        raise
    return True


def test_whom_nvidias_seeding_gives_a_role_works_in_the_default_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER_VARIABLE, TOKEN)
    auth = "{enabled: true, allow_unsigned_jwt: true, policy_data_refresh_interval: 1}"
    with running_platform(tmp_path, auth=auth, roles=True) as url, closing(Platform(url, TIMEOUTS)) as platform:
        deadline = Deadline(60)  # the roles are given in the background
        while not _has_a_role(platform):
            assert not deadline.passed, "no role was given"
            time.sleep(0.5)
        platform.create_fileset("rows", "dataset")
        assert [fileset["name"] for fileset in platform.filesets()] == ["rows"]
        with closing(Nim(gateway_url(url), TIMEOUTS, max_retries=0, api_key=access_token())) as gateway:
            assert gateway.models() == []
        with pytest.raises(ServiceError) as refused:
            platform.within("of-others").models()
        assert refused.value.status == 403
