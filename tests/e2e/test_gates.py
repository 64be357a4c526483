"""A gate in a real run: FR training is not paid for, other rows and the result files are not touched."""

import json
import subprocess
from pathlib import Path

from suites import TINY, command, environment


def test_a_refused_row_is_not_trained_on_and_a_warning_is_kept(tmp_path: Path) -> None:
    def run(gate: str) -> subprocess.CompletedProcess[str]:
        limits = f"evaluate.1.gate={{separability/fdr: {gate}}}"
        call = command("run", str(TINY), "--only", "toy", "--only", "authentic", "--set", limits)
        return subprocess.run(call, env=environment(tmp_path), capture_output=True, text=True, timeout=600, check=False)

    def results(row: str) -> dict[str, object]:
        path = tmp_path / "results" / "tiny" / row / "seed-0" / "results.json"
        read: dict[str, object] = json.loads(path.read_text())
        return read

    refused = run("{at_least: 1000}")
    assert refused.returncode == 1
    assert "expected at least 1000" in str(results("toy")["error"])
    assert "not started" in str(results("toy")["error"])
    made = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("train/*/manifest.json")]
    assert not [one for one in made if one["options"]["identities"]], "no FR training on a dataset"

    warned = run("{at_least: 1000, then: warn}")
    assert warned.returncode == 0, warned.stderr[-2000:]
    assert "toy seed 0: train: WARNING: gate: separability/fdr" in warned.stderr
    assert len(results("toy")["warnings"]) == 1  # type: ignore[arg-type]
    assert "gate: separability/fdr" in warned.stdout
