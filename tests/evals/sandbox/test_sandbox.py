"""What code in the sandbox can and cannot do. Skipped where no sandbox can be made."""

import subprocess
import sys
import time

import pytest

from evals.registry import get_benchmark
from evals.sandbox import runner as sandbox
from evals.sandbox.runner import Limits, run, why_not
from rl.errors import EvalError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"no sandbox: {why_not()}")

HARMLESS = {
    "nothing": "pass",
    "standard library": "import collections, datetime, decimal, hashlib, heapq, json, math, random",
    "threads": "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
    "files of its own": "open('/tmp/a', 'w').write('x')\nassert open('/tmp/a').read() == 'x'",
    "much output": "print('x' * 10**6)",
    "time left": "import time; time.sleep(0.1)",
}
REFUSED = {
    "reads the home folder": "import os\nassert os.listdir(os.path.expanduser('~'))",
    "reads a file of the repository": f"open({__file__!r}).read()",
    "reads the password file": "open('/etc/passwd').read()",
    "reads other processes": "open('/proc/self/environ').read()",
    "writes to the system": "open('/usr/written', 'w')",
    "writes to the interpreter": "import sys; open(sys.base_prefix + '/written', 'w')",
    "opens a socket": "import socket; socket.socket()",
    "looks a name up": "import socket; socket.create_connection(('localhost', 80))",
    "forks": "import os; os.fork()",
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "starts a program": "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
    "becomes a program": "import os, sys; os.execv(sys.executable, [sys.executable, '-c', ''])",
    "thread bomb": "import threading, time\n"
    "for _ in range(10**4): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "eats memory": "x = bytearray(2**32)",
    "eats memory slowly": "x = []\nwhile True: x.append(bytearray(2**20))",
    "fills the disk": "f = open('/tmp/a', 'wb')\nwhile True: f.write(bytes(2**20))",
    "mounts": "import ctypes\n"
    "assert ctypes.CDLL(None).mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == 0",
    "recurses": "def f(): f()\nf()",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "is no Python": "def (",
    "holds a lone surrogate": "x = '\ud800'",
    "leaves early with status 0": "import os; os._exit(0)",
    "leaves early": "raise SystemExit(0)",
    "fails": "assert False",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_code_runs(name):
    assert run(HARMLESS[name], Limits(wall_s=20.0))


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_does_not(name):
    assert not run(REFUSED[name], Limits(wall_s=20.0))


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)"])
def test_time_ends(code):
    assert not run(code, Limits(wall_s=0.5))


def test_cpu_time_ends():
    assert not run("while True: pass", Limits(wall_s=60.0, cpu_s=1))


def test_no_process_is_left_behind(monkeypatch):
    sessions = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            sessions.append(self.pid)  # the leader of a session of its own

    monkeypatch.setattr(subprocess, "Popen", Noted)
    code = "import threading, time\n"
    code += "for _ in range(3): threading.Thread(target=time.sleep, args=(600,)).start()\n"
    assert not run(code + "time.sleep(600)", Limits(wall_s=0.5))
    monkeypatch.undo()
    (session,) = sessions
    for _ in range(100):  # the kernel takes a moment to end the cell
        listed = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True)
        if not listed.stdout.strip():
            return
        time.sleep(0.1)
    raise AssertionError(listed.stdout)


def test_where_no_sandbox_can_be_made_nothing_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "why_not", lambda: "no user namespaces")
    written = tmp_path / "written"
    with pytest.raises(
        EvalError, match="no sandbox can be made here: no user namespaces"
    ) as caught:
        run(f"open({str(written)!r}, 'w')")
    assert "\n" not in str(caught.value)
    assert not written.exists()
    with pytest.raises(EvalError, match="no sandbox"):  # before a question is asked
        get_benchmark("humaneval").load(tmp_path)


def test_a_refusal_of_the_kernel_is_named(monkeypatch):
    # A limit of no processes at all: the cell's own fork fails, and says so.
    start = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    monkeypatch.setattr(sandbox, "_START", start + sandbox._START)
    passed, problem = sandbox._run("pass", Limits(wall_s=20.0))
    assert not passed
    assert problem


def test_own_modules_are_out_of_reach():
    assert not run("import evals", Limits(wall_s=20.0))
    assert run(f"import sys; assert {sys.prefix!r} not in sys.path", Limits(wall_s=20.0))
