"""openconf in an environment of its own: a request a line on stdin, an answer a line on stdout, both JSON.

Run by another interpreter (`baselines.OpenConf`), so it imports nothing of this package. The first line out says the
version. A request is {"smiles", "n", "seed", "preset"}; its answer {"numbers": [N], "positions": [k, N, 3] in Å, "seconds"
of one core} or {"problem", "seconds"}.
"""

import dataclasses
import json
import os
import sys
import time
from importlib.metadata import version

from openconf import generate_conformers, preset_config  # type: ignore[import-not-found]  # of the other environment


def answer(request: dict) -> dict:
    """At most n conformers, the preset's settings otherwise, on one thread."""
    start = time.process_time()
    try:
        config = preset_config(request["preset"])
        pool = None if config.pool_max is None else max(config.pool_max, request["n"])
        changes = {"max_out": request["n"], "pool_max": pool, "random_seed": request["seed"] + 1, "num_threads": 1}
        made = generate_conformers(request["smiles"], config=dataclasses.replace(config, **changes))
        positions = [made.mol.GetConformer(k).GetPositions().tolist() for k in made.conf_ids]
        found: dict = {"numbers": [a.GetAtomicNum() for a in made.mol.GetAtoms()], "positions": positions}
    except Exception as error:  # a molecule that it cannot do is its failure, whatever it raises
        found = {"problem": " ".join(str(error).split())[:200] or type(error).__name__}
    return {**found, "seconds": time.process_time() - start}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    print(json.dumps({"version": version("openconf")}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
