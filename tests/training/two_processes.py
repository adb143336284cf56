"""Train, cut off and resume in each of two processes; run by `test_parallel` under torchrun."""

import sys
from pathlib import Path

from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_mri.training import EMA, Pretrain, PriorModule
from tests.training.conftest import LABELS, Images, network


def fit(folder: Path, steps: int, resumed: bool = False) -> None:
    """Train until a step."""
    seed_everything(3, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=-1,
        callbacks=[
            Pretrain(learning_rate=1e-2, steps=steps, warm_up=2, final=1.0),
            EMA(decay=0.9),
            ModelCheckpoint(folder, save_last=True, enable_version_counter=False),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = PriorModule(network(), labels=LABELS)
    trainer.fit(module, Images(), ckpt_path=folder / "last.ckpt" if resumed else None, weights_only=True)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    fit(out / "whole", 5)
    fit(out / "cut", 3)
    fit(out / "cut", 5, resumed=True)
