"""Writes docs/recipes.md, the reference of recipes, from their JSON schema: `python docs/recipes.py`."""

import json
from pathlib import Path
from typing import Any

from pyg_diffusion.tasks import TASKS
from pyg_diffusion.train.recipe import schema

PAGE = Path(__file__).with_name("recipes.md")
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
INTRO = """# Recipes

What `pyg-diffusion train` reads, in YAML. This page is made from the schema of recipes by `docs/recipes.py`;
`pyg-diffusion train --schema > recipe.schema.json` writes that schema for editors, which then complete keys and mark what is
wrong (in VS Code with the YAML extension: `# yaml-language-server: $schema=recipe.schema.json` as the first line).

A recipe has the sections `data`, `process`, `model`, `optimizer`, `train` and `sample`; what is left out has its default.
`data.kind` is the task and `model.kind` the network, both the first one below if not given. On the command line
`section.key=value` changes one value. A list of one may be written as that one."""


def kind_of(field: dict[str, Any]) -> str:
    """The type of a key in words."""
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        if names := next((part["enum"] for part in field["anyOf"] if "enum" in part), None):
            return ", ".join(f"`{value}`" for value in names) + ", or `module:function`"
        lists = [part for part in field["anyOf"] if part.get("type") == "array"]
        return f"list of {kind_of(lists[0]['items'])}s".replace("texts", "names") if lists else "number"
    if isinstance(values := field.get("additionalProperties"), dict):
        return f"mapping of names to {kind_of(values)}s"
    limits = " and ".join(f"{sign} {field[key]:g}" for key, sign in BOUNDS.items() if key in field)
    return f"{TYPES[field['type']]} {limits}".strip()


def table(section: dict[str, Any]) -> str:
    """The keys of a section."""
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, field in section["properties"].items():
        default = (
            "" if "const" in field or "default" not in field else f"`{json.dumps(field['default'], ensure_ascii=False)}`"
        )
        about = " ".join(field.get("description", "").split()).replace("|", "\\|")
        rows.append(f"| `{key}` | {kind_of(field)} | {default} | {about} |")
    return "\n".join(rows)


def named(reference: dict[str, Any]) -> str:
    """The definition that is referred to."""
    return (reference.get("allOf") or [reference])[0]["$ref"].rsplit("/", 1)[1]


def page() -> str:
    """The whole page."""
    recipes = schema(TASKS)
    sections, parts = recipes["$defs"], [INTRO]
    for task in recipes["oneOf"]:
        data = sections[named(task["properties"]["data"])]
        parts += [f"## data of kind {task['title']}", data["description"], table(data)]
    takers: dict[str, list[str]] = {}
    for task in recipes["oneOf"]:
        for network in task["properties"]["model"]["oneOf"]:
            takers.setdefault(named(network), []).append(task["title"])
    for network, tasks in takers.items():
        model = sections[network]
        text = f"For {' and '.join(tasks)}. {model['description']}"
        parts += [f"## model of kind {model['title']}", text, table(model)]
    for name in ("process", "optimizer", "train", "sample"):
        section = sections[named(recipes["oneOf"][0]["properties"][name])]
        parts += [f"## {name}", section["description"], table(section)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
