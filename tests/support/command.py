"""Runs the program as a user does: a command to its end, or `dev` in a terminal's place until it is stopped."""

import os
import pathlib
import signal
import subprocess

from ironbrook import READY_WITHIN, STOPPED_WITHIN, eventually

DONE, FAILED, USAGE = 0, 1, 2
COMMAND_WITHIN = 60


def environment(**variables):
    """This process' variables without those the program reads, and others on top."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("IRONBROOK_")}
    return {**own, **variables}


def run(*arguments, status=DONE, cwd=None, **variables):
    """Runs a command to its end, without a terminal; gives (stdout, stderr)."""
    done = subprocess.run(
        [os.environ["IRONBROOK_BIN"], *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN,
        cwd=cwd,
        env=environment(**variables),
    )
    assert done.returncode == status, f"ended with {done.returncode}, not {status}:\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


class Shown:
    """`ironbrook dev` with its standard output in a file. Use it in a `with`, which ends it whatever happens."""

    def __init__(self, folder, *arguments, cwd=None, **variables):
        self.out, self.err = pathlib.Path(folder) / "out.txt", pathlib.Path(folder) / "err.txt"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [os.environ["IRONBROOK_BIN"], "dev", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=environment(**variables),
            )

    def until(self, last):
        """Waits for a line that begins so, and gives all of the output."""

        def shown():
            if self.process.poll() is not None:
                raise RuntimeError("`ironbrook dev` ended:\n" + self.err.read_text())
            text = self.out.read_text()
            return text if any(line.startswith(last) for line in text.splitlines()) and text.endswith("\n") else None

        return eventually(shown, READY_WITHIN, f"output {last!r}")

    def stop(self, how=signal.SIGINT):
        """Gives the exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOPPED_WITHIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOPPED_WITHIN)
