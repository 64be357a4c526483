"""The report is refreshed while a run goes on, seldom enough to cost it nothing, and whole at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from rows import put

from harness.tracking import report
from harness.tracking.report import SHARE, ReportPage


def test_the_page_follows_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    plan = SimpleNamespace(suite=SimpleNamespace(name="demo"))
    page, listener = tmp_path / "results" / "demo" / "report.html", ReportPage()
    listener.suite_started(plan, tmp_path)  # type: ignore[arg-type]

    def finish(row: str) -> None:
        listener.row_finished(put(tmp_path, row, 0, 0.9), page.parent / row)

    finish("row-one")
    assert "row-one" in page.read_text()
    listener._next = now[0] + 4.0 / SHARE  # as if writing had taken four seconds
    now[0] += 79
    finish("row-two")
    assert "row-two" not in page.read_text(), "not again before twenty times as long has passed"
    now[0] += 2
    finish("row-three")
    assert "row-three" in page.read_text()
    listener.suite_finished(plan, tmp_path, [])  # type: ignore[arg-type]
    listener._next = now[0] + 1e6
    listener.suite_finished(plan, tmp_path, [put(tmp_path, "row-four", 0, 0.9)])  # type: ignore[arg-type]
    assert "row-four" in page.read_text()
