"""The shell completes commands, what follows them, their options, and configurations."""

import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["pred"], "predict"),
        (["predict", "--data.ro"], "--data.root"),
        (["fit", "--config", "finetune/syn"], "finetune/synthetic_flair"),
        (["report", "--out"], "--output_dir"),
        (["sweep", "--n_t"], "--n_trials"),
        (["weights", "sh"], "show"),
        (["completion", "z"], "zsh"),
    ],
)
def test_bash_completes(command: Callable[..., str], typed: list[str], completed: str) -> None:
    words = " ".join(["lightning-mri", *typed])
    ask = f'COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _lightning_mri; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{command('completion', 'bash')}\n{ask}"], capture_output=True, text=True)
    assert done.stdout.split() == [completed], done.stderr
