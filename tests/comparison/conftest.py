"""Processes of their own for scripts, which tests may kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import alive, wait_for

# Each script is run in a copy of a process that has imported what takes a second.
SERVER = """
import json, os, sys
import srnc_manifold, scipy.optimize, threadpoolctl, joblib, cloudpickle
for line in sys.stdin:
    code, out, *arguments = json.loads(line)
    if not code:
        print(os.waitstatus_to_exitcode(os.waitpid(int(out), 0)[1]), flush=True)
    elif (pid := os.fork()):
        print(pid, flush=True)
    else:
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
            os.dup2(os.open(path, flags), number)
        os.dup2(1, 2)
        sys.argv = ["script", *arguments]
        exec(compile(code, "script", "exec"), {"__name__": "__main__"})
        break
"""


class Script:
    """A script that is run."""

    def __init__(self, asked, pid, out):
        self._asked, self.pid, self._out = asked, pid, out

    def wait(self, seconds=120):
        """Its exit code, or minus the number of the signal that ended it; and what it printed."""
        wait_for(lambda: not alive(self.pid), seconds)
        return self._asked("", self.pid), Path(self._out).read_text()


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """Starts scripts."""
    if not hasattr(os, "fork") or not os.path.isdir("/proc/self"):
        pytest.skip("processes of Linux")
    folder, numbers = tmp_path_factory.mktemp("scripts"), iter(range(10**6))

    def asked(*request):
        print(json.dumps(request), file=server.stdin, flush=True)
        return int(server.stdout.readline())

    def start(code, *arguments):
        out = str(folder / f"{next(numbers)}.txt")
        return Script(asked, asked(code, out, *map(str, arguments)), out)

    environment = os.environ | {"PYTHONHASHSEED": "1"}  # sets have another order there
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as server:
        yield start  # it ends when its input is closed
