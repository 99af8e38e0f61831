"""`pyg-diffusion train`: a recipe of any task."""

import argparse
import json

from ..console import UsageError


def run(args: argparse.Namespace) -> int:
    """Trains, or prints the schema of recipes; returns the exit status."""
    from ..tasks import TASKS, load_recipe
    from ..tasks.training import run_recipe
    from ..train.recipe import RecipeError, schema

    if args.schema:
        if args.config or args.output or args.resume:
            raise UsageError("--schema stands alone: pyg-diffusion train --schema > recipe.schema.json")
        print(json.dumps(schema(TASKS), indent=1))
        return 0
    if args.config is None or args.output is None:
        raise UsageError("a recipe and a folder are needed: pyg-diffusion train CONFIG.yaml -o DIR")
    try:
        recipe = load_recipe(args.config, args.overrides)
    except RecipeError as error:
        raise UsageError(str(error)) from error
    return run_recipe(recipe, args.output, args.resume, args.quiet, ["train", args.config, *args.overrides])
