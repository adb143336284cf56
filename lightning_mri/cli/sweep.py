"""``sweep``: the trials of a W&B sweep file, without a server, by any number of processes that share a folder."""

from argparse import ArgumentParser, HelpFormatter
from functools import partial
from pathlib import Path
from typing import NoReturn

from lightning_mri.cli.mistakes import corrected
from lightning_mri.cli.options import WIDTH, find_configuration
from lightning_mri.cli.pages import LIST
from lightning_mri.lazy import lazy
from lightning_mri.origin import IMPORTED

NOT_TRAINING = ("--print_config", "--dry_run", "--help-all", "--version")
"""Options with which `fit` tells something and trains nothing."""

trials = lazy("lightning_mri.cli.trials")  # Optuna is an extra


def sweep(arguments: list[str]) -> int:
    """Run the trials of a W&B sweep file, with further options of `fit`; return 3 if some of them failed."""
    about = (
        "Run the trials of a W&B sweep file without a server. Further options, such as --data.root, are those of fit."
    )
    parser = Parser("lightning-mri sweep", description=about, formatter_class=partial(HelpFormatter, width=WIDTH))
    parser.add_argument("file", help="W&B sweep file: method grid, random or bayes; or sweeps/finetune, which ships.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Folder that all processes of the sweep share.")
    parser.add_argument("--n_trials", type=int, help="Number of trials, in place of the file's run_cap.")
    if arguments == [LIST]:
        print("\n".join(option for action in parser._actions for option in action.option_strings))
        return 0
    options, fit = parser.parse_known_args(arguments)
    if untrained := [option for option in fit if option.split("=")[0] in NOT_TRAINING]:
        raise ValueError(f"{untrained[0]}: a sweep runs its trials; give this option to `fit`")
    fit += [f"--import={module}" for module in IMPORTED]
    file = trials.SweepFile.read(find_configuration(options.file), options.n_trials)
    return trials.Sweep(file, options.output_dir, fit).run()


class Parser(ArgumentParser):
    """That of Python, which leaves the options of `fit` alone."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong as the other commands do."""
        raise ValueError(corrected(self, message))
