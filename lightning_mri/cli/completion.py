"""``completion``: a script by which a shell completes commands, options and the names of configurations."""

from lightning_mri.cli import COMMANDS
from lightning_mri.cli.options import configurations
from lightning_mri.cli.pages import HELP, LIST, words_after

SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}
SCRIPT = """\
{start}_lightning_mri() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=""
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    [ "$COMP_CWORD" -eq 1 ] && words="{commands}"
    [ "$before" = --config ] && words="{configurations}"
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _lightning_mri lightning-mri"""


ABOUT = """\
Print a script that completes commands, options and names of configurations by TAB. In ~/.bashrc:

  eval "$(lightning-mri completion bash)"
"""


def completion(arguments: list[str]) -> None:
    """Print the script for a shell."""
    if arguments == [LIST]:
        print(" ".join(SHELLS))
        return
    if set(HELP) & set(arguments):
        print(f"usage: lightning-mri completion {{{','.join(SHELLS)}}}\n\n{ABOUT}")
        return
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise ValueError(f"completion needs one of {', '.join(SHELLS)}: got {' '.join(arguments) or 'nothing'}")
    cases = [f'        {name}) words="{words_after(name)}" ;;' for name in COMMANDS]
    parts = {"commands": " ".join(COMMANDS), "configurations": " ".join(configurations())}
    print(SCRIPT.format(start=SHELLS[arguments[0]], cases="\n".join(cases), **parts))
