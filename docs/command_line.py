"""Writes docs/reference/command_line.md, every command and option, from the parser: `python docs/command_line.py`."""

import argparse
from pathlib import Path

from pyg_diffusion.cli.parser import Parser

PAGE = Path(__file__).parent / "reference" / "command_line.md"
INTRO = """# The command line

Made from the parser. `pyg-diffusion COMMAND --help` says the same. Exit status: 0 when anything was produced, 1 when nothing
was (or, with `--strict`, when a record was skipped), 2 for wrong usage. Results go to files or stdout; messages and progress
to stderr."""

HELP = argparse.HelpFormatter("pyg-diffusion")


def cell(text: str) -> str:
    """Of a table: in one line, without what would end it."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def row(action: argparse.Action) -> str:
    """An option: its flags, what it takes, its default, what it does."""
    metavar = action.metavar if action.metavar is not None else action.dest.upper()
    metavar = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar)
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{metavar}`"
    takes = "" if action.nargs == 0 or not action.option_strings else metavar
    if action.choices is not None:
        takes = ", ".join(f"`{choice}`" for choice in action.choices)
    told = isinstance(action.default, int | float | str) and action.default not in (False, "", argparse.SUPPRESS)
    default = f"`{action.default}`" if told else ""
    return f"| {flags} | {cell(takes)} | {default} | {cell(HELP._expand_help(action) if action.help else '')} |"


def groups(parser: argparse.ArgumentParser) -> list[str]:
    """A table for the options of all tasks, and one for those of each task."""
    parts = []
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if not isinstance(a, argparse._HelpAction)]
        if (group.title or "").startswith("options of") and (actions or group.description):
            parts += [f"### {parser.prog.split()[-1]}: {group.title}", cell(group.description or "")]
        if actions:
            parts.append("\n".join(["| option | takes | default | |", "|---|---|---|---|", *map(row, actions)]))
    return parts


def page() -> str:
    """The page."""
    parts = [INTRO]
    parser = Parser(for_help=True).parser
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        parts += [f"## {name}", command.description or "", *groups(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
