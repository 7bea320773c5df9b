"""An algorithm of a user's own file crosses to an actor, which cannot import that file."""

import subprocess
import sys
from pathlib import Path

import ray

from rl.config import Component
from rl.runtime.cluster import pickle_own_files_whole
from tests.docs.fences import ROOT, fences

READ = """
import pickle, sys
algorithm = pickle.load(sys.stdin.buffer)
print(algorithm.needs.reading, algorithm.group_size, algorithm.loss.__name__)
"""


def test_an_object_of_an_own_file_travels_with_its_code(tmp_path: Path) -> None:
    [text] = [f.text for f in fences(ROOT / "docs" / "extending.md") if f.file == "best_of.py"]
    (tmp_path / "best_of.py").write_text(text)
    kind = Component("rl.algorithms", base=tmp_path).find("./best_of.py:BestOf")
    pickle_own_files_whole()
    sent = ray.cloudpickle.dumps(kind(group_size=4))
    done = subprocess.run(
        [sys.executable, "-c", READ], input=sent, capture_output=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["group", "4", "loss"]
