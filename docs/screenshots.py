"""The pictures of docs/view.md and docs/serve.md: python docs/screenshots.py (wants Debian's chromium)."""

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from pyg_diffusion.cli import main

HERE = Path(__file__).parent
SIZE = {"width": 1180, "height": 640}


def click_atoms(tab: Page, atoms: list[int]) -> None:
    """Click atoms of the conformer that is shown."""
    for atom in atoms:
        spot = tab.evaluate(
            "(k) => { const v = document.getElementById('stage').viewer; return v.modelToScreen(v.selectedAtoms({})[k]); }",
            atom,
        )
        tab.mouse.click(spot["x"], spot["y"])


def view(tab: Page, folder: Path) -> None:
    """The viewer: paracetamol's conformers overlaid, and one with a torsion."""
    sdf, page = str(folder / "out.sdf"), folder / "page.html"
    molecules = ["CC(=O)Nc1ccc(O)cc1 paracetamol", "CC(C)Cc1ccc([C@H](C)C(=O)O)cc1 ibuprofen", "OCCNCCO diethanolamine"]
    assert main(["sample", *molecules, "-n", "12", "-o", sdf, "--energies", "MMFF94s(eps=4)", "--quiet"]) == 0
    assert main(["view", sdf, "-o", str(page), "--quiet"]) == 0
    tab.goto(page.as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.click("#molecules li:nth-child(2) button")
    tab.check("#overlaid")
    tab.select_option("#hydrogens", "polar")
    tab.screenshot(path=HERE / "view_overlaid.png")
    tab.uncheck("#overlaid")
    tab.select_option("#hydrogens", "none")
    tab.select_option("#sort", "energy_kcal_mol")
    tab.click("#conformers tbody tr:first-child")
    click_atoms(tab, [1, 3, 4, 9])
    tab.screenshot(path=HERE / "view_measured.png")


def serve(tab: Page) -> None:
    """The server's page, after a molecule was pasted."""
    command = [sys.executable, "-m", "pyg_diffusion", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        tab.goto(server.stderr.readline().partition(": ready")[0])
        tab.click("#drawing summary")
        tab.fill("#smiles", "CC(=O)Nc1ccc(O)cc1 paracetamol\nC[C@H](N)C(=O)O alanine")
        tab.fill("#n", "8")
        tab.click("#go")
        tab.wait_for_selector("#results:not([hidden])")
        tab.frame_locator("#look").locator("body[data-ready=yes]").wait_for()
        tab.screenshot(path=HERE / "serve_page.png")
        server.terminate()


if __name__ == "__main__":
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        tab = browser.new_page(viewport=SIZE)
        tab.set_default_timeout(120_000)
        view(tab, Path(name))
        serve(tab)
        browser.close()
    sys.exit(0)
