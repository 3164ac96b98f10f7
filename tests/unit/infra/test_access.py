"""The wait for the role of a new administrator: it ends with the role, or with a message, and never in a preview."""

import asyncio
from pathlib import Path

import pulumi
import pytest

from infra.clusters import access
from nemostack.kubectl.process import Access, CompletedCall, NoAnswer, NotInstalled

KUBECONFIG = "{}"


def wait(within_s: float = 60) -> str:
    loop = asyncio.new_event_loop()  # not asyncio.run, which takes away the loop that Pulumi's mocks use
    try:
        return loop.run_until_complete(access.wait_for_administrator(KUBECONFIG, within_s=within_s, pause_s=0))
    finally:
        loop.close()


@pytest.fixture(autouse=True)
def up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)


def test_it_ends_when_the_role_is_effective(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["Forbidden", "Forbidden", None])
    monkeypatch.setattr(access, "is_administrator", lambda _: next(said))
    assert wait() == KUBECONFIG
    assert next(said, "none left") == "none left"


def test_it_gives_up_with_what_the_api_server_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "is_administrator", lambda _: "Forbidden")
    with pytest.raises(
        pulumi.RunError, match=r"as its administrator after .* \(Forbidden\): check the role assignments"
    ):
        wait(within_s=-1)


def test_a_missing_login_program_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "Unable to connect to the server: getting credentials: exec: executable kubelogin not found; az aks install-cli"
    )
    answers = iter([said])  # asked a second time, it would raise StopIteration
    monkeypatch.setattr(access, "is_administrator", lambda _: next(answers))
    with pytest.raises(pulumi.RunError, match=r"kubelogin not found; az aks install-cli\): install it"):
        wait()


def test_a_preview_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(access, "is_administrator", lambda _: pytest.fail("asked"))
    assert wait() == KUBECONFIG


def test_without_kubectl_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_kubectl(_: str) -> None:
        raise NotInstalled("kubectl is not installed")

    monkeypatch.setattr(access, "is_administrator", no_kubectl)
    assert wait() == KUBECONFIG


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (CompletedCall(code=0, out="yes\n", err=""), None),
        (CompletedCall(code=1, out="no\n", err=""), "no"),
        (
            CompletedCall(code=1, out="", err="Error from server (Forbidden): no access\n"),
            "Error from server (Forbidden): no access",
        ),
        (NoAnswer(60), "no answer within 60 s"),
    ],
)
def test_the_question(answer: CompletedCall | NoAnswer, refusal: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def call(access: Access, arguments: list[str], **_: float) -> CompletedCall:
        assert isinstance(access.kubeconfig, Path)
        assert access.kubeconfig.read_text() == KUBECONFIG
        asked.append(arguments)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    monkeypatch.setattr(access, "call", call)
    assert access.is_administrator(KUBECONFIG) == refusal
    assert asked == [["auth", "can-i", "create", "namespaces"]]
