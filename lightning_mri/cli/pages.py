"""What ``--help`` prints and TAB completes, kept as text in ``help/``, so that neither waits for torch and Lightning.

``python -m lightning_mri.cli.pages`` writes the texts anew where options have changed; a test tells when that is due.
"""

from contextlib import redirect_stdout, suppress
from io import StringIO
from itertools import takewhile
from pathlib import Path

from lightning_mri.cli import COMMANDS

FOLDER = Path(__file__).parent / "help"
HELP, LIST = ("--help", "-h"), "--list-options"


def help_for(arguments: list[str]) -> str | None:
    """Return the help that a command line asks for; None if it asks for none, or for that of an unknown command."""
    if not set(HELP) & set(arguments):
        return None
    kept = {file.stem: file for file in FOLDER.glob("*.txt")}
    first, *second = [*takewhile(lambda word: not word.startswith("-"), arguments), ""][:2]
    is_followed = any(name.startswith(f"{first}_") for name in kept)
    file = kept.get("_".join([first, *filter(None, second)]) if is_followed else first)
    return None if file is None else file.read_text()


def words_after(name: str) -> str:
    """Return the options of a command, or the words that must follow it, with spaces between."""
    return " ".join((FOLDER / f"{name}.words").read_text().split())


def current() -> dict[str, str]:
    """Return what the files of the folder should hold, by their names, as the commands themselves tell it."""
    texts = {}
    for name in COMMANDS:
        texts[f"{name}.txt"], texts[f"{name}.words"] = _printed(name, HELP[0]), _printed(name, LIST)
        if name in ("weights", "reader-study"):
            texts |= {f"{name}_{word}.txt": _printed(name, word, HELP[0]) for word in texts[f"{name}.words"].split()}
    return texts


def _printed(name: str, *arguments: str) -> str:
    out = StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        COMMANDS[name].load()([*arguments])
    return out.getvalue()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    texts = current()
    for file in FOLDER.iterdir():
        if file.name not in texts:
            file.unlink()
    for file_name, text in texts.items():
        (FOLDER / file_name).write_text(text)
