"""The recipe for SLURM, on a real SLURM of one machine, which root can start.

apt-get install slurm-wlm munge
pytest -m slow tests/test_slurm.py
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.builders import sample
from tests.conftest import SETTINGS, Run, shell, wait_for

CONFIGURATION = Path(__file__).with_name("slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 or not all(map(shutil.which, PROGRAMS)),
        reason="needs root, and apt-get install slurm-wlm munge",
    ),
]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A controller and a node; returns the variables that their commands need."""
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    text = CONFIGURATION.read_text().replace("DIR", str(folder))
    (folder / "slurm.conf").write_text(text.replace("HOSTNAME", os.uname().nodename))
    variables = {"SLURM_CONF": str(folder / "slurm.conf")}
    made_munge = not os.path.exists("/run/munge")
    started = []
    if made_munge:
        os.makedirs("/run/munge", 0o755)
        shutil.chown("/run/munge", "munge", "munge")
        started.append(subprocess.Popen(["runuser", "-u", "munge", "--", "munged", "-F"]))
        assert wait_for(lambda: os.path.exists("/run/munge/munge.socket.2"))
    for program in ("slurmctld", "slurmd"):
        started.append(subprocess.Popen([program, "-D"], env={**os.environ, **variables}))
    yield variables
    for process in reversed(started):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    if made_munge:
        shutil.rmtree("/run/munge", ignore_errors=True)


def test_an_array_of_shards_and_a_job_that_gathers(slurm: dict[str, str], run: Run) -> None:
    for number in range(40):
        sample(f"data/{number % 3}/{number:02}.{'pt' if number % 2 else 'safetensors'}", number)
    whole = run("apply", "data", "-o", "whole", *SETTINGS, "--json", "-j", 1).json
    assert wait_for(lambda: b"idle" in shell("sinfo -h -o %T", **slurm).stdout, 60)
    command = "dropcli apply data -o out -p 0.3 --seed 7 --resume"
    shard = f"{command} -q --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
    array = shell(f"sbatch --parsable --array=1-4 --wrap '{shard}'", **slurm)
    assert array.returncode == 0, array.stderr
    after = f"--dependency=afterany:{array.stdout.decode().strip()}"
    gather = shell(f"sbatch {after} --wrap '{command} --json > report.json'", **slurm)
    assert gather.returncode == 0, gather.stderr
    assert wait_for(lambda: not shell("squeue -h", **slurm).stdout, 120)
    time.sleep(0.5)
    report = json.loads(Path("report.json").read_text())
    assert {file["status"] for file in report["files"]} == {"skipped"}
    for one, other in zip(report["files"], whole["files"], strict=True):
        assert one["tensors"] == other["tensors"]
        assert Path(one["output"]).read_bytes() == Path(other["output"]).read_bytes()
    assert len(list(Path("out").glob("dropcli.*-of-4.jsonl"))) == 4
