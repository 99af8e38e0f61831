"""A few hundred damaged files of every kind; `make fuzz N=100000` reads as many as one likes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import SUBJECTS, run


def test_damaged_files_are_named_and_nothing_else_happens():
    result = run(300, seed=0)
    assert result["inputs"] == 300 and len(SUBJECTS) == 11
    assert not result["faults"], result["faults"]
