"""The page in a real browser: what is clicked, sorted, measured and saved."""

import pytest
from conftest import embed
from rdkit.Chem import rdMolTransforms
from test_page import EVIL, records_of

from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.viewer import collected, page


@pytest.fixture(scope="module")
def butanol():
    return embed("CCCCO", 6)


@pytest.fixture(scope="module")
def opened(browser, butanol, tmp_path_factory):
    """The page of two molecules, what it asked the network for and what it complained of."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    records = [*records_of(embed("O")), *records_of(butanol, EVIL)]
    path.write_text(page(collected(records), EVIL), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 920, "height": 300})  # software draws every pixel
    tab.set_default_timeout(120_000)
    tab.requests, tab.errors = [], []
    tab.on("request", lambda request: tab.requests.append(request.url))
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.on("dialog", lambda dialog: tab.errors.append(dialog.message) or dialog.dismiss())
    tab.goto(path.as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.select_option("#style", "lines")
    tab.click("#molecules li:nth-child(2) button")
    yield tab
    tab.close()


def rows(tab, column):
    return [row.split("\t")[column] for row in tab.inner_text("#conformers tbody").split("\n") if row.strip()]


def test_the_page_stands_alone_and_shows_names_as_text(opened):
    assert opened.inner_text("#name") == EVIL
    assert opened.title() == EVIL
    assert [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert opened.errors == []
    assert opened.get_attribute("#molecules li:nth-child(2) img", "alt") == "CCCCO"
    opened.fill("#filter", "cccco")
    assert opened.locator("#molecules li").count() == 1
    opened.fill("#filter", "")


def test_conformers_are_sorted_and_stepped_through(opened):
    opened.select_option("#sort", "energy_kcal_mol")
    assert rows(opened, 1) == ["6", "5", "4", "3", "2", "1"]
    opened.click("#conformers tbody tr:first-child")
    opened.click("#forth")
    assert opened.inner_text("#which") == "5 of 6"
    opened.select_option("#sort", "")
    assert rows(opened, 1) == ["1", "2", "3", "4", "5", "6"]


def test_clicked_atoms_are_measured(opened, butanol):
    opened.select_option("#hydrogens", "none")  # which may hide what is behind them
    opened.select_option("#style", "sticks")
    opened.click("#conformers tbody tr:nth-child(3)")
    for atom in range(4):
        spot = opened.evaluate(
            """(k) => { const v = document.getElementById("stage").viewer;
                        return v.modelToScreen(v.selectedAtoms({})[k]); }""",
            atom,
        )
        opened.mouse.click(spot["x"], spot["y"])
        if atom == 1:
            length = rdMolTransforms.GetBondLength(butanol.GetConformer(2), 0, 1)
            assert opened.inner_text("#measure") == f"distance C1–C2: {length:.3f} Å"
    torsions = [rdMolTransforms.GetDihedralDeg(c, 0, 1, 2, 3) for c in butanol.GetConformers()]
    assert opened.inner_text("#measure") == f"torsion C1–C2–C3–C4: {torsions[2]:.1f} °"
    assert [float(text) for text in rows(opened, -1)] == pytest.approx(torsions, abs=0.06)  # of all conformers, with sign
    opened.select_option("#style", "lines")


def test_what_is_chosen_is_saved_as_it_was(opened, butanol, tmp_path):
    opened.click("#none")
    for k in (2, 5):
        opened.check(f"#conformers tbody tr:nth-child({k}) input")
    opened.check("#overlaid")
    assert opened.inner_text("#which") == "2 of 6 overlaid"
    assert opened.evaluate("document.getElementById('stage').viewer.selectedAtoms({}).length") == 2 * butanol.GetNumAtoms()
    with opened.expect_download() as saved:
        opened.click("#save-chosen")
    saved.value.save_as(tmp_path / "chosen.sdf")
    texts = [sdf_text(record.mol, -1) for record in records_of(butanol)]
    assert (tmp_path / "chosen.sdf").read_text() == texts[1] + texts[4]


def test_a_cell_of_the_matrix_overlays_its_two(opened):
    opened.click("#all")
    opened.click("#matrix", position={"x": 1.5 * 260 / 6, "y": 3.5 * 260 / 6})
    assert opened.inner_text("#which") == "2 of 6 overlaid"
    assert opened.locator("#conformers input:checked").count() == 2
    assert opened.errors == []
