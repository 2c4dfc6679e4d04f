"""The completion scripts of bash, zsh and fish, as text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Command, Option, Value

_OWN = {"--help": "show the commands", "--version": "show the version"}

_BASH = """# Completion of slipway for bash: eval "$(slipway completion bash)"
_slipway() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}"
    local options= valued= argument= rest= words= i
    COMPREPLY=()
    # bash takes --device=cpu apart at the sign.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous="${{COMP_WORDS[COMP_CWORD - 2]}}"
    fi
    if ((COMP_CWORD == 1)); then
        words={commands}
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        *) return ;;
        esac
        if [[ -n $rest ]]; then
            # What follows the script is the script's own; an empty answer lets readline complete files.
            for ((i = 2; i < COMP_CWORD; i++)); do
                if [[ " $valued " == *" ${{COMP_WORDS[i]}} "* ]]; then
                    [[ ${{COMP_WORDS[i + 1]}} == = ]] && ((i++))
                    ((i++))
                elif [[ ${{COMP_WORDS[i]}} != -* ]]; then
                    return
                fi
            done
        fi
        if [[ -n $previous && " $valued " == *" $previous "* ]]; then
            case "${{COMP_WORDS[1]}} $previous" in
{values}
            esac
        elif [[ $current != -* && $argument == FILE ]]; then
            return
        elif [[ $current != -* && -n $argument ]]; then
            words=$argument
        else
            words=$options
        fi
    fi
    compopt +o default 2>/dev/null
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _slipway slipway
"""


def bash(commands: Sequence[Command]) -> str:
    """Return the script of bash (3.2 or newer)."""
    cases: list[str] = []
    places: dict[str, list[str]] = {}
    for command in commands:
        facts = {
            "options": " ".join(name for option in command.options for name in option.names),
            "valued": " ".join(name for option in command.options if option.value for name in option.names),
            "argument": "FILE" if command.argument and command.argument.files else " ".join(_words(command.argument)),
            "rest": "yes" * command.takes_rest,
        }
        shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in facts.items() if value)
        cases.append(f"        {command.name}) {shown} ;;")
        for option in command.options:
            if option.value and (option.value.words or option.value.files):
                answer = "return" if option.value.files else f"words={shlex.quote(' '.join(option.value.words))}"
                places.setdefault(answer, []).extend(f"'{command.name} {name}'" for name in option.names)
    values = [f"            {' | '.join(found)}) {answer} ;;" for answer, found in places.items()]
    return _BASH.format(
        commands=shlex.quote(" ".join([*(command.name for command in commands), *_OWN])),
        cases="\n".join(cases),
        values="\n".join(values),
    )


_ZSH = """#compdef slipway
# Completion of slipway for zsh: eval "$(slipway completion zsh)", or a file _slipway in a folder of $fpath
_slipway() {{
    local context state state_descr line
    local -a commands
    typeset -A opt_args
    _arguments -C {own} '1: :->command' '*:: :->argument'
    case $state in
    command)
        commands=({commands})
        _describe -t commands command commands
        ;;
    argument)
        case $words[1] in
{cases}
        esac
        ;;
    esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _slipway "$@"
else
    compdef _slipway slipway
fi
"""


def zsh(commands: Sequence[Command]) -> str:
    """Return the script of zsh, to be evaluated or to stand in a folder of `$fpath`."""
    cases = []
    for command in commands:
        specs = [_zsh_option(name, option) for option in command.options for name in option.names]
        if command.argument:
            specs.append(f"1:{command.name}:{_zsh_action(command.argument)}")
        if command.takes_rest:
            specs.append("*:argument:_files")
        # -A: what follows the script is the script's own.
        start = "_arguments -A '-*'" if command.takes_rest else "_arguments"
        parts = " \\\n            ".join([start, *map(_quoted, specs)])
        cases.append(f"        {command.name})\n            {parts}\n            ;;")
    return _ZSH.format(
        own=" ".join(_quoted(f"(- *){name}[{text}]") for name, text in _OWN.items()),
        commands=" ".join(_quoted(f"{one.name}:{one.help}") for one in commands),
        cases="\n".join(cases),
    )


def _zsh_option(name: str, option: Option) -> str:
    text = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    if option.value is None:
        return f"{name}[{text}]"
    return f"{name}{'=' if name.startswith('--') else '+'}[{text}]:value:{_zsh_action(option.value)}"


def _zsh_action(value: Value) -> str:
    return "_files" if value.files else f"({' '.join(value.words)})" if value.words else " "


def _quoted(text: str) -> str:
    """Return text in single quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


_FISH = """# Completion of slipway for fish: slipway completion fish > ~/.config/fish/completions/slipway.fish
function __slipway_command
    set -l words (commandline -opc)
    set -q words[2]; and test "$words[2]" = "$argv[1]"
end
complete -c slipway -f
"""


def fish(commands: Sequence[Command]) -> str:
    """Return the script of fish."""
    lines = [
        f"complete -c slipway -n __fish_use_subcommand -l {name.lstrip('-')} -d {_fish(text)}"
        for name, text in _OWN.items()
    ]
    for command in commands:
        lines.append(f"complete -c slipway -n __fish_use_subcommand -a {command.name} -d {_fish(command.help)}")
        start = f"complete -c slipway -n '__slipway_command {command.name}'"
        for option in command.options:
            names = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names)
            lines.append(f"{start} {names}{_fish_value(option.value)} -d {_fish(option.help)}")
        if command.argument and command.argument.words:
            lines.append(f"{start} -a {_fish(' '.join(command.argument.words))}")
        elif command.takes_rest or (command.argument and command.argument.files):
            lines.append(f"{start} -F")
    return _FISH + "\n".join(lines) + "\n"


def _fish_value(value: Value | None) -> str:
    if value is None:
        return ""
    return " -r -F" if value.files else f" -x -a {_fish(' '.join(value.words))}" if value.words else " -x"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _words(value: Value | None) -> tuple[str, ...]:
    return value.words if value else ()
