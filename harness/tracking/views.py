"""What an experiment shows of itself: saved views, a description with the boards, the metric that rows rank by.

All of it follows from one tag per suite, which the runs of that suite write. So runs and workdirs that share an
experiment never overwrite one another: who writes last has read what all have said.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.reading.escape import markdown_text, visible
from harness.reading.leaderboard import Board
from harness.reading.tables import headlines
from harness.results import REPORT_FILE
from harness.tracking.content import clean_name
from harness.tracking.notes import short_board

BOARD_TAG = "harness.board."  # and the name of the suite's run
VIEW_TAG = "mlflow.sharedViewState."  # and the key of the view, which stands in its address; MLflow 3.16 on
NOTE_TAG = "mlflow.note.content"
PRIMARY_TAG = "mlflow.experiment.primaryMetric."
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens the runs of models, not the traces of LLMs
MODEL_TRAINING = "workflowType=machine_learning"  # of an address: MLflow 3.17 looks there, not at the kind
ROWS = "tags.`harness.kind` = 'row' AND tags.`harness.current` = 'yes'"
PIXELS = (8, 320)  # of a letter in a heading, and of a column at the most
MAX_COLUMNS = 40  # of metrics in a view
MAX_CHARS = 5000  # of an experiment's tag; newer servers take 20,000


@dataclass(frozen=True)
class Summary:
    """What the experiment says of one suite; metrics by MLflow's names.

    Attributes:
        run: id of the suite's run.
        finished: seconds since 1970.
        ranked, others, costs: metrics of the three views.
        primary: the metric that rows rank by; empty if none.
    """

    suite: str
    run: str
    finished: float
    report: bool
    ranked: list[str]
    others: list[str]
    costs: list[str]
    primary: str
    falling: bool
    table: str

    @classmethod
    def of(cls, board: Board, run: str, finished: float, report: bool, kinds: Iterable[str]) -> Summary:
        """Of the board of one suite.

        Args:
            kinds: of the stages that its rows rest on.
        """
        ranked = [about for about in headlines(board) if about.ranks]
        first = next((about for about in ranked if about.members), ranked[0] if ranked else None)
        made = cls(
            suite=board.suites[0],
            run=run,
            finished=finished,
            report=report,
            ranked=_names(about.name for about in sorted(ranked, key=lambda about: about is not first)),
            others=_names(about.name for about in headlines(board) if not about.ranks),
            costs=_names(["stages/seconds", "stages/gpu_hours", *(f"stages/{kind}/seconds" for kind in kinds)]),
            primary="" if first is None else clean_name(first.name),
            falling=first is not None and first.better == "lower",
            table="",
        )
        room = MAX_CHARS - len(made.text())
        whole = replace(made, table=short_board(board, room))
        over = len(whole.text()) - MAX_CHARS  # line ends and quotes are escaped
        return whole if over <= 0 else replace(made, table=short_board(board, room - over))

    @classmethod
    def read(cls, text: str) -> Summary | None:
        """From a tag; None if somebody else wrote it, such as another version of this."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def text(self) -> str:
        """As a tag keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False)


def experiment_tags(tags: Mapping[str, str], experiment: str) -> dict[str, str]:
    """The tags that follow from those of the suites.

    Args:
        tags: all that the experiment has.
        experiment: its id.
    """
    read = [Summary.read(text) for name, text in tags.items() if name.startswith(BOARD_TAG)]
    said = [each for each in read if each is not None]
    said.sort(key=lambda each: (-each.finished, each.suite, each.run))
    made = KIND | {NOTE_TAG: _note(said, experiment)}
    if first := next((each for each in said if each.primary), None):
        made[f"{PRIMARY_TAG}name"] = tags.get(f"{PRIMARY_TAG}name", first.primary)  # what a user chose stays
        made[f"{PRIMARY_TAG}greaterIsBetter"] = tags.get(f"{PRIMARY_TAG}greaterIsBetter", str(not first.falling))
    views = {
        "leaderboard": [name for each in said for name in each.ranked],
        "separability": [name for each in said for name in each.others],
        "cost": [name for each in said for name in each.costs],
    }
    for key, metrics in views.items():
        if metrics:
            order = (first.primary, first.falling) if first and key == "leaderboard" else (metrics[0], key == "cost")
            made[VIEW_TAG + key] = _view(key, list(dict.fromkeys(metrics))[:MAX_COLUMNS], *order, said[0].finished)
    return made


def view_address(experiment: str, key: str) -> str:
    """What follows the server's address in that of a saved view."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={key}&{MODEL_TRAINING}"


def _view(name: str, metrics: list[str], order: str, ascending: bool, when: float) -> str:
    """A saved view as MLflow's interface keeps it: a name, times, and the state of the page."""
    columns = [f"params.`{param}`" for param in ("row", "suite", "seed")] + [f"metrics.`{each}`" for each in metrics]
    state: dict[str, Any] = {
        "searchFilter": ROWS,
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": ascending,
        "startTime": "ALL",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {f"metrics.`{each}`": min(PIXELS[1], 50 + PIXELS[0] * len(each)) for each in metrics},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    milliseconds = int(when * 1000)
    return json.dumps(
        {"name": name, "createdAt": milliseconds, "updatedAt": milliseconds, "state": f"deflate;{packed}"}
    )


def _names(names: Iterable[str]) -> list[str]:
    return [clean_name(name) for name in names][:MAX_COLUMNS]


def _note(said: list[Summary], experiment: str) -> str:
    """The boards of the suites, the latest first, as many as fit."""
    base = f"#/experiments/{experiment}/runs"
    links = ", ".join(f"[{key}]({view_address(experiment, key)})" for key in ("leaderboard", "separability", "cost"))
    text = f"One run per row and seed, under one run per suite. Views: {links}."
    for count, each in enumerate(said):
        suite = markdown_text(visible(each.suite))
        report = f"\n\n[Report]({base}/{each.run}/artifacts/{REPORT_FILE}?{MODEL_TRAINING})" if each.report else ""
        part = f"\n\n### [{suite}]({base}/{each.run}?{MODEL_TRAINING})\n\n{each.table}{report}"
        more = f"\n\nand {len(said) - count} more suites"
        if len(text) + len(part) + len(more) > MAX_CHARS:
            return text + more
        text += part
    return text
