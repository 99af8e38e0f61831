"""Everything on a GPU, in one command, for whoever has one: `python benchmarks/cuda.py --help` says what (`gpu.py`)."""

import sys
from pathlib import Path

# torch imports NVIDIA's package `cuda` where it is installed, and every script of this folder would give it this file in its
# place: so, imported, this file stands for that package, whose parts are found through its path.
__path__ = [str(folder) for folder in (Path(entry) / "cuda" for entry in sys.path) if folder.is_dir()]

if __name__ == "__main__":
    from gpu import main

    sys.exit(main())
