"""Tables of `test` in W&B."""

import csv
import netrc
import os
from pathlib import Path


def go_offline_without_key() -> None:
    """Let W&B log to disk where there is no account, instead of asking for one; ``wandb sync`` uploads later."""
    if "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ:
        return
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    if not any("wandb" in host for host in hosts):
        os.environ["WANDB_MODE"] = "offline"


def log_tables(project: str, folder: Path, facts: dict[str, str]) -> None:
    """Send the tables of a folder to W&B, as a run of its own."""
    import wandb  # takes a second

    go_offline_without_key()
    with wandb.init(project=project, name=folder.name, job_type="test", dir=folder, config=facts) as run:
        for name in ("table", "differences"):
            with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
            columns: list[str | int] = [*header]
            run.log({f"test/{name}": wandb.Table(columns, [[*map(_number, row)] for row in rows])})


def _number(text: str) -> float | str | None:
    """Return a cell as a number where it is one; None where it is empty."""
    try:
        return float(text) if text else None
    except ValueError:
        return text
