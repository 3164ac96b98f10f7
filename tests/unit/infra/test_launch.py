"""A service sees no secrets of the shell that ran `pulumi up`."""

from infra.local.launch import environment


def test_secrets_stay_outside() -> None:
    inherited = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "PULUMI_CONFIG_PASSPHRASE_FILE": "f", "HF_HOME": "/h"}
    seen = environment({"PYTHONUNBUFFERED": "1"}, inherited)
    assert seen == {
        "PATH": "/bin", "HF_HOME": "/h", "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
    }  # fmt: skip


def test_exclusions_of_the_user_are_kept() -> None:
    assert environment({}, {"no_proxy": "corp"})["NO_PROXY"] == "corp,127.0.0.1,localhost"
