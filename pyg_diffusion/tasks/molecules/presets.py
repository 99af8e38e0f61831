"""What `sample --preset` stands for, and how many conformers `-n auto` makes. Imports nothing heavy: the parser reads it."""

from dataclasses import dataclass
from typing import Any

# (rotatable bonds up to, conformers): Ebejer, Morris and Deane 2012, doi:10.1021/ci2004658, as datamol and others have it.
BY_ROTATABLE_BONDS = ((7, 50), (12, 200))
MOST = 300


def conformers_for(rotatable_bonds: int) -> int:
    """Conformers of a molecule with so many rotatable bonds: 50 up to 7, 200 up to 12, else 300 (Ebejer et al. 2012).

    Example:
        >>> [conformers_for(k) for k in (0, 7, 8, 13)]
        [50, 50, 200, 300]
    """
    return next((count for most, count in BY_ROTATABLE_BONDS if rotatable_bonds <= most), MOST)


@dataclass(frozen=True)
class Preset:
    """Options of `sample` by their names, and what they are for."""

    purpose: str
    options: dict[str, Any]

    def __str__(self) -> str:
        words = []
        for name, value in self.options.items():
            flag = "-n" if name == "n" else f"--{name.replace('_', '-')}"
            shown = ("auto" if value[0] is None else str(value[0])) if name == "n" else f"{value}"
            words.append(flag if value is True else f"{flag} {shown}")
        return " ".join(words)


AUTO = (None, False)
PRESETS = {
    # Speed: independent draws, no network evaluations for a confidence, few shapes.
    "screen": Preset(
        "shape or pharmacophore screening of many molecules: few conformers, no choice among them, as fast as it gets",
        {"n": (20, False), "oversample": 1.0, "no_confidence": True, "prune": 0.5},
    ),
    # The window and the RMSD are OMEGA's classic defaults (Hawkins et al. 2010, doi:10.1021/ci100031x).
    "ensemble": Preset(
        "the accessible shapes of a molecule in solution, relaxed, with energies and populations",
        {"n": AUTO, "relax": "MMFF94s(eps=4)", "window": 10.0, "prune": 0.5, "kelvin": 298.15},
    ),
    # A protein pays for strain, and holds bond angles as drawn: nothing is relaxed.
    "docking": Preset(
        "starts for docking or pose prediction: unrelaxed, all that is not strained beyond what proteins hold",
        {"n": AUTO, "oversample": 1.0, "energies": "MMFF94s(eps=4)", "window": 25.0, "prune": 0.3},
    ),
    # The window and the RMSD are CREST's (Pracht, Bohle and Grimme 2020, doi:10.1039/C9CP06869D).
    "nmr": Preset(
        "Boltzmann averages of spectra: minima of GFN2-xTB, near-duplicates out (needs tblite, and seconds a conformer)",
        {"n": AUTO, "relax": "GFN2-xTB", "window": 6.0, "prune": 0.125, "kelvin": 298.15},
    ),
}
