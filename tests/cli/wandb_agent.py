"""W&B's own agent, with its server's three answers in their place: the sweep, the agent's name, what to run next.

Run by `test_sweep` with the sweep file as argument.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import yaml
from wandb import wandb_agent
from wandb.apis.public import sweeps

text = Path(sys.argv[1]).read_text()
file = yaml.safe_load(text)
values = [parameter["values"] for parameter in file["parameters"].values()]
points = [dict(zip(file["parameters"], point, strict=True)) for point in itertools.product(*values)]


def heartbeat(api: Any, agent: str, metrics: Any, running: dict[str, bool]) -> list[dict[str, Any]]:
    """Send one point of the grid after the other."""
    if running:
        return []
    if not points:
        return [{"type": "exit"}]
    args = {name: {"value": value} for name, value in points.pop(0).items()}
    return [{"type": "run", "run_id": f"run{len(points)}", "program": file["program"], "args": args}]


sweeps._sweep_with_runs = lambda *_: {"config": text}
sweeps._register_agent = lambda *_, **__: {"id": "agent"}
sweeps._agent_heartbeat = heartbeat
wandb_agent.wandb.Api = lambda: None
wandb_agent.Agent.POLL_INTERVAL = 1
wandb_agent.run_agent("nobody/test/sweep0")
