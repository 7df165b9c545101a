"""Makes dist/{{name}}.wasm. What it needs is installed into .venv the first time."""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
# It may be a link: several projects can share what they need.
VENV = (HERE / ".venv").resolve()
PROGRAMS = VENV / ("Scripts" if sys.platform == "win32" else "bin")


def main():
    installed = VENV / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if not installed.is_file() or installed.read_text() != wanted:
        venv.create(VENV, with_pip=True)
        run(PROGRAMS / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")
        installed.write_text(wanted)
    (HERE / "dist").mkdir(exist_ok=True)
    # Without --stub-wasi it would import clocks, files and sockets, behind which there is nothing.
    run(
        PROGRAMS / "componentize-py",
        *("--wit-path", "wit", "--world", "processor"),
        *("componentize", "--stub-wasi", "processor", "--output", "dist/{{name}}.wasm"),
    )


def run(*command):
    result = subprocess.run([str(word) for word in command], cwd=HERE)
    if result.returncode != 0:
        sys.exit(f"`{command[0]}` ended with {result.returncode}")


if __name__ == "__main__":
    main()
