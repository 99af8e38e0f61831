"""Conformers in a notebook, by py3Dmol."""

from typing import Any

import numpy as np
from rdkit import Chem

from ..chem.conformers import with_positions
from ..chem.writing import sdf_text
from ..extras import require
from .collection import moves_of

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


def view(mol: Chem.Mol, conformer: int | None = None, width: int = 560, height: int = 400) -> Any:
    """A molecule's conformers in a notebook, laid on the first; `pyg-diffusion view` makes a page that does more.

    py3Dmol has the browser load 3Dmol.js from the network.

    Args:
        mol: with conformers, as `embed_multiple_confs` gives them.
        conformer: the id of one of them to show alone; all if None.
        width, height: in pixels.

    Returns:
        A `py3Dmol.view`, which a notebook displays and which can be changed further.

    Raises:
        MissingPackage: py3Dmol is not installed (the extra "notebook").
        ValueError: there are no conformers, or none of this id.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion import embed_multiple_confs, view
        >>> mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
        >>> ids = embed_multiple_confs(mol, 2, seed=1)
        >>> type(view(mol)).__name__
        'view'
    """
    require("py3Dmol", "notebook", "view")
    import py3Dmol

    ids = [c.GetId() for c in mol.GetConformers()]
    if not ids:
        raise ValueError("the molecule has no conformers; embed_multiple_confs(mol, 10) makes some")
    if conformer is not None and conformer not in ids:
        raise ValueError(f"there is no conformer {conformer}; there are {', '.join(map(str, ids[:20]))}")
    places = np.array([c.GetPositions() for c in mol.GetConformers()])
    for k, motion in enumerate(np.array(moves_of(mol)).reshape(-1, 3, 4)):
        places[k] = places[k] @ motion[:, :3].T + motion[:, 3]
    laid = with_positions(mol, places)
    shown = py3Dmol.view(width=width, height=height)
    for k, name in enumerate(ids):
        if conformer in (None, name):
            shown.addModel(sdf_text(laid, k), "sdf")
            colours = {} if conformer is not None or len(ids) == 1 else {"colorscheme": _carbons(k)}
            shown.setStyle({"model": -1}, {"stick": {"radius": 0.12, **colours}, "sphere": {"scale": 0.16, **colours}})
    shown.zoomTo()
    return shown


def _carbons(k: int) -> dict[str, Any]:
    """Other colours for the carbons of each conformer, one for one that repeats after ten."""
    elements = {"C": COLOURS[k % len(COLOURS)], "H": "white", "N": "#3050F8", "O": "#FF0D0D", "S": "#FFFF30", "F": "#90E050"}
    return {"prop": "elem", "map": elements}
