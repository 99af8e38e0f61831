"""Shared molecules, and a browser. Everything here is small: tests run on one thread."""

import os
import shutil
from typing import NoReturn

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.data import Molecule, write_store

SMILES = [
    "C[C@H](N)C(=O)O",
    "C/C=C/CO",
    "c1ccccc1O",
    "CC(=O)[O-].[Na+]",
    "O",
    "C[N+](C)(C)CC(=O)[O-]",
    "C[C@@H]1CO[C@H]1F",
    "N#CC1CC1",
    "CCCCO",
    "C1=CC2CC1C=C2",
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def embed(smiles: str, n: int = 1, seed: int = 7) -> Chem.Mol:
    """A molecule with explicit hydrogens and n ETKDG conformers, as training data."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    mol.SetProp("_Name", smiles)
    assert len(rdDistGeom.EmbedMultipleConfs(mol, n, randomSeed=seed)) == n
    return mol


@pytest.fixture(scope="session")
def molecules() -> list[Molecule]:
    """Ten molecules, stereo, salt, single heavy atom, zwitterion and rings among them, three conformers each."""
    return [molecule_from_mol(embed(s, 3)) for s in SMILES]


@pytest.fixture(scope="session")
def store_path(molecules, tmp_path_factory):
    """The same as a store."""
    path = tmp_path_factory.mktemp("store") / "ten.h5"
    write_store(path, molecules)
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def lacking():
    """`lacking("what is missing, and how to get it")` skips the test, and fails it where CI is true."""

    def end(what: str) -> NoReturn:
        pytest.fail(what) if os.environ.get("CI") == "true" else pytest.skip(what)

    return end


@pytest.fixture(scope="session")
def browser(lacking):
    """Debian's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        lacking("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield browser
        browser.close()
