"""ConformerGenerator and its RDKit door."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMILES
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch_geometric.data import Batch

from pyg_diffusion import ConformerGenerator, embed_multiple_confs
from pyg_diffusion.chem import Stereo, check_stereo, molecule_from_mol, read_sdf
from pyg_diffusion.chem.skeleton import skeleton
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet
from pyg_diffusion.sample import Ancestral
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks.molecules.data import rotations
from pyg_diffusion.weights_io import Card


@pytest.fixture(scope="module")
def untrained() -> ConformerGenerator:
    """A generator whose network is small and random: for everything but quality."""
    torch.manual_seed(0)
    net = ConformerNet(width=16, depths=(1,), heads=2, pair_width=8)
    denoiser = Denoiser(net, LinearSDE(GeometricTime(), gamma=1.33), PowerSpectrum.harmonic(1.33), centered=True)
    return ConformerGenerator(
        denoiser,
        Card(process={}, model={}, bf16=False, elements=[1, 6, 7, 8], data={"kind": "molecules"}),
        steps=3,
        device="cpu",
        unsound="keep",
    )


@pytest.fixture(scope="module")
def shipped() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained(device="cpu")


def test_same_seed_same_conformers_whatever_the_batching(untrained, molecules):
    flat = [m for m in molecules if not len(m.tetra) and not len(m.ez)]  # no resampling
    one = untrained.sample(flat, 3, seed=5, max_attempts=1)
    small = ConformerGenerator(untrained.denoiser, untrained.card, steps=3, device="cpu", max_pairs=1, unsound="keep")
    two = small.sample(flat, 3, seed=5, max_attempts=1)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-3)
    pieces = small.sample(flat[:1], 3, 5, max_attempts=1) + small.sample(flat[1:], 3, 5, 1, 1)
    for a, b in zip(two, pieces, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    other = untrained.sample(flat, 3, seed=6, max_attempts=1)
    assert all(np.abs(a.positions - b.positions).max() > 0.1 for a, b in zip(one, other, strict=True))


def test_wrong_stereo_is_drawn_again_or_left_out(untrained, molecules):
    """An untrained network has no idea of stereo: what it returns is right all the same, and the misses are counted."""
    chiral = [m for m in molecules if len(m.tetra)]
    results = untrained.sample(chiral, 8, seed=1, max_attempts=3)
    for molecule, result in zip(chiral, results, strict=True):
        stereo = Stereo(molecule.tetra, molecule.ez, molecule.ez_type)
        assert check_stereo(stereo, result.positions).all()
        assert result.asked == 8 and result.right_at_once <= len(result.positions) <= 8
        assert result.evaluations >= 3 * 8 + 3 * (8 - result.right_at_once)
    assert sum(r.right_at_once for r in results) < sum(r.asked for r in results)


def test_single_atoms_salts_and_large_molecules(untrained):
    mols = [Chem.AddHs(Chem.MolFromSmiles(s)) for s in ("[Na+]", "[Na+].[Cl-]", "C" * 80)]
    results = untrained.sample([molecule_from_mol(m) for m in mols], 2)
    assert [r.positions.shape for r in results] == [(2, 1, 3), (2, 2, 3), (2, 242, 3)]
    assert all(np.isfinite(r.positions).all() for r in results)
    assert "never saw: Na" in results[0].notes[0]
    assert not results[2].notes
    with pytest.raises(ValueError, match="without atoms"):
        untrained.sample([molecule_from_mol(Chem.Mol())], 1)


def test_what_training_never_saw_is_said(untrained):
    """Every warning on its own and at its boundary; a card that knows nothing of the domain gives none."""

    def said(smiles, **domain):
        generator = ConformerGenerator(
            untrained.denoiser,
            Card(process={}, model={}, bf16=False, elements=[1, 6, 7, 8], data={"kind": "molecules"}, domain=domain),
            steps=3,
            device="cpu",
        )
        return generator.unfamiliar(molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles))))

    assert said("CCO", max_atoms=9, charges=[0]) == said("CC(=O)[O-]") == []
    assert said("CCO", max_atoms=8, charges=[0]) == ["9 atoms, and the model never saw more than 8"]
    glycine = "[NH3+]CC(=O)[O-]"
    assert said(glycine, max_atoms=10, charges=[-1, 0, 1]) == []
    assert said(glycine, max_atoms=10, charges=[0, 1]) == ["formal charges the model never saw: -1 (atom 5)"]
    assert said("[N-3].C[NH3+]", max_atoms=10, charges=[0]) == [
        "2 fragments, generated apart and placed beside each other",
        "formal charges the model never saw: -2 or beyond (atom 1), +1 (atom 3)",
    ]
    assert len(said("C[Hg+]", max_atoms=1, charges=[0])) == 3
    assert said("[O-][N+](=O)c1cc[nH]c1") == said("CC(=O)[N-]C") == said("[NH4+]") == said("[C-]#[N+]C") == []
    assert said("FP(F)(F)(F)F")[1:] == ["more than 4 neighbours, which the model never saw: P2"]
    assert said("C[CH]C.[OH]")[1:] == ["unpaired electrons, which the model never saw: C2, O4"]
    assert said("CC=C=CC") == ["axial stereo is open at C2-C4: both hands may be made"]
    assert said("CC=C=C=CC") == ["cis and trans at the cumulene C2-C5 are not told apart"]
    assert said("N->[Li+]")[1:] == ["bonds that are dative, of order zero or the like: N1-Li2"]


def test_stochastic_sampler_is_reproducible(untrained, molecules):
    generator = ConformerGenerator(
        untrained.denoiser, untrained.card, sampler=Ancestral(), steps=4, device="cpu", unsound="keep"
    )
    a, b = (generator.sample(molecules[4:5], 2, seed=3)[0].positions for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_confidence_counts_its_evaluations_ranks_and_can_be_left_out(shipped):
    ion, ethanol = (molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(s))) for s in ("[Na+]", "CCO"))
    sodium, result = shipped.sample([ion, ethanol], 6, seed=2)
    assert sodium.confidence.tolist() == [1.0] * 6  # nothing there can move
    assert result.evaluations == 6 * (shipped.steps + 2) and ((result.confidence > 0) & (result.confidence < 1)).all()
    plain = ConformerGenerator(shipped.denoiser, shipped.card, device="cpu", confidence=False).sample(
        [ion, ethanol], 6, seed=2
    )[1]
    assert plain.confidence is None and plain.evaluations == 6 * shipped.steps
    np.testing.assert_allclose(plain.positions, result.positions, atol=1e-4)
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    embed_multiple_confs(mol, 6, seed=2, generator=shipped, oversample=1)
    surest = np.argmax(shipped.sample([ethanol], 6, seed=2)[0].confidence)
    np.testing.assert_allclose(
        mol.GetConformer(0).GetPositions(), shipped.sample([ethanol], 6, seed=2)[0].positions[surest], atol=1e-4
    )


def test_embed_has_rdkits_habits(shipped):
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    ids = embed_multiple_confs(mol, 4, seed=1)
    assert ids == [0, 1, 2, 3] == [c.GetId() for c in mol.GetConformers()]
    assert all(c.Is3D() for c in mol.GetConformers())
    first = mol.GetConformer(0).GetPositions()
    assert embed_multiple_confs(mol, 2, seed=9, clear_confs=False) == [4, 5]
    assert mol.GetNumConformers() == 6
    assert embed_multiple_confs(mol, 4, seed=1) == [0, 1, 2, 3]
    np.testing.assert_allclose(mol.GetConformer(0).GetPositions(), first, atol=1e-6)
    Chem.AssignStereochemistryFrom3D(mol)
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == "C[C@H](N)C(=O)O"
    with pytest.warns(UserWarning, match="never saw: Hg"):
        embed_multiple_confs(Chem.AddHs(Chem.MolFromSmiles("C[Hg]C")), 1)
    ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    assert 1 <= len(embed_multiple_confs(ethanol, 20, prune=0.3)) <= 3  # anti and two gauche
    with pytest.raises(ValueError, match="no level of theory 'AM1'"):
        embed_multiple_confs(ethanol, 1, level="AM1")
    heavy = Chem.MolFromSmiles("CCO")
    assert embed_multiple_confs(heavy, 1) == [0] and heavy.GetConformer(0).GetNumAtoms() == 3


def test_shipped_weights_make_sound_molecules(shipped):
    """Bond lengths of small and drug-like molecules against RDKit's bounds: 99 % within .1 Å of them, all within .3 Å."""
    excess = []
    for smiles in [*SMILES[:3], "CC(=O)Nc1ccc(O)cc1", "CCOC(=O)c1ccc(N)cc1"]:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        assert len(embed_multiple_confs(mol, 10, generator=shipped)) == 10
        bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol)
        for conformer in mol.GetConformers():
            for bond in mol.GetBonds():
                i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
                length = (conformer.GetAtomPosition(i) - conformer.GetAtomPosition(j)).Length()
                excess.append(max(bounds[j, i] - length, length - bounds[i, j], 0.0))
    assert np.mean(np.array(excess) < 0.1) > 0.99 and max(excess) < 0.3


def test_rotation_error_of_the_shipped_network_is_small(shipped):
    """Not equivariant by construction, so measured: how far D moves when S_t is turned, relative to D's own error."""
    path = Path(__file__).parent.parent / "datasets" / "qm9_ensembles_20.sdf.gz"
    mols = [r.mol for r in islice(read_sdf(str(path)), 0, 200, 10)]
    batch = Batch.from_data_list([skeleton(molecule_from_mol(m)).molecule.data(0) for m in mols])
    operator, denoiser = laplacian_operator(batch), shipped.denoiser
    generator = torch.Generator().manual_seed(0)
    x_0 = operator.from_work(operator.center(operator.to_work(batch.pos)))
    for tau in (0.001, 0.01, 0.1, 1.0):
        t = denoiser.sde.schedule.t(torch.full((len(mols), 1), tau))
        noise = torch.randn(x_0.shape, generator=generator)
        noisy = operator.apply(denoiser.sde.mean(t), x_0) + operator.apply(denoiser.sde.std(t), noise)
        with torch.no_grad():
            straight = denoiser(operator, noisy, t, batch)
            turn = rotations(torch.randn(1, 4, generator=generator))[0]
            turned = denoiser(operator, noisy @ turn, t, batch) @ turn.mT
        assert (turned - straight).square().mean().sqrt() < 0.33 * (straight - x_0).square().mean().sqrt()


def test_a_molecule_too_large_for_the_memory_does_not_take_the_others_along(untrained, molecules, monkeypatch):
    run = ConformerGenerator._draw

    def scarce(self, jobs, **options):
        if len(jobs) > 2 or jobs[0].data.num_nodes > 15:
            raise torch.OutOfMemoryError("CUDA out of memory")
        run(self, jobs, **options)

    monkeypatch.setattr(ConformerGenerator, "_draw", scarce)
    small, large = molecules[4], molecules[5]
    one, two = untrained.sample([small, large], 5)  # one batch of ten, which does not fit
    assert len(one.positions) == 5 and not one.problem
    assert len(two.positions) == 0 and "not enough memory for its 19 atoms" in two.problem


def test_a_choice_sees_positions_and_confidence_and_all_draws_are_counted(untrained, molecules, monkeypatch):
    monkeypatch.setattr(untrained, "confidence", True)
    all_of_them = untrained.sample(molecules[:2], 3)
    seen = {}

    def last(k, positions, confidence):
        seen[k] = confidence
        return [len(positions) - 1]

    chosen = untrained.sample(molecules[:2], 3, choose=last)
    for made, kept in zip(all_of_them, chosen, strict=True):
        np.testing.assert_array_equal(kept.positions, made.positions[-1:])
        np.testing.assert_array_equal(kept.confidence, made.confidence[-1:])
        assert made.evaluations == kept.evaluations
    assert all((seen[k] == made.confidence).all() for k, made in enumerate(all_of_them))
    assert len(all_of_them[0].positions) == 3


def test_conditions_reach_the_network_and_guidance_needs_them(molecules):
    """A conditioned network whose condition layer was made to matter gives other conformers for other wishes."""
    torch.manual_seed(0)
    net = ConformerNet(width=16, depths=(1, 1), heads=2, pair_width=8, conditions=("radius_of_gyration",))
    torch.nn.init.normal_(net.condition[2].weight)
    for stage in net.stages:
        torch.nn.init.normal_(stage.read.weight, std=0.1)
        torch.nn.init.normal_(stage.modulation.weight, std=0.1)
    denoiser = Denoiser(net, LinearSDE(GeometricTime(1e-3, 10.0)), PowerSpectrum.harmonic(1.3), centered=True)
    generator = ConformerGenerator(
        denoiser,
        Card(
            process={},
            model={"conditions": ["radius_of_gyration"]},
            bf16=False,
            elements=[1, 6, 7, 8],
            data={"kind": "molecules"},
        ),
        None,
        3,
        "cpu",
        unsound="keep",
    )
    flat = [molecules[0]]

    def made(**options):
        return generator.sample(flat, 2, seed=1, max_attempts=1, **options)[0].positions

    small, large = (made(condition={"radius_of_gyration": r}) for r in (1.0, 4.0))
    assert abs(small - large).max() > 1e-3
    free, none = made(condition={"radius_of_gyration": 4.0}, guidance=0.0), made()
    np.testing.assert_allclose(free, none, atol=1e-5)
    assert abs(made(condition={"radius_of_gyration": 4.0}, guidance=2.0) - large).max() > 1e-3
    with pytest.raises(ValueError, match="guidance needs a condition"):
        made(guidance=2.0)
    with pytest.raises(ValueError, match="not conditioned on 'dipole'"):
        made(condition={"dipole": 1.0})
    with pytest.raises(ValueError, match="finite"):
        made(condition={"radius_of_gyration": float("nan")})
    with pytest.raises(ValueError, match="2 conditions for 1 molecules"):
        made(condition=[{}, {}])


def test_fixed_atoms_stay_where_they_are(shipped):
    """A ring kept in place to the precision of the solver, everything around it generated; other molecules are free."""
    mol = Chem.AddHs(Chem.MolFromSmiles("CCOC(=O)c1ccc(N)cc1"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    reference = mol.GetConformer().GetPositions()
    ring = [a.GetIdx() for a in mol.GetAtoms() if a.GetIsAromatic()]
    fixed = np.full_like(reference, np.nan)
    fixed[ring] = reference[ring]
    other = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCO")))
    kept, free = shipped.sample([molecule_from_mol(mol), other], 3, seed=1, fixed=[fixed, None])
    assert kept.positions.shape[0] == free.positions.shape[0] == 3
    np.testing.assert_allclose(kept.positions[:, ring], np.broadcast_to(reference[ring], (3, 6, 3)), atol=2e-3)
    rest = np.setdiff1d(np.arange(len(reference)), ring)
    assert np.abs(kept.positions[0, rest] - kept.positions[1, rest]).max() > 0.5
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    lengths = np.linalg.norm(kept.positions[:, [i for i, _ in bonds]] - kept.positions[:, [j for _, j in bonds]], axis=-1)
    wanted = np.array([np.linalg.norm(reference[i] - reference[j]) for i, j in bonds])
    assert np.abs(lengths - wanted).max() < 0.2
    with pytest.raises(ValueError, match=r"fixed must be \(9, 3\)"):
        shipped.sample([other], 1, fixed=[fixed])


def test_an_energy_steers(shipped):
    """kT-scaled pull to the centre makes a chain compact; a term of weight 0 changes nothing."""
    chain = [molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCCCCCCC")))]

    def size(strength):
        def energy(operator, batch):
            return lambda x: strength * x.square().sum()

        return np.sqrt(
            np.square(shipped.sample(chain, 6, seed=2, energy=energy, energy_limit=2.0)[0].positions).sum(-1).mean()
        )

    free = shipped.sample(chain, 6, seed=2)[0].positions
    np.testing.assert_allclose(size(0.0), np.sqrt(np.square(free).sum(-1).mean()), rtol=1e-5)
    assert size(0.6) < 0.85 * size(0.0)


def test_bf16_and_float32_agree(shipped):
    """The shipped network runs in bf16; the same noise through float32 gives nearly the same conformer.

    Of ten atoms nine move by less than .1 Å; a hydroxyl may turn further.
    """
    flat = [molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("c1ccccc1O")))]
    exact = ConformerGenerator.from_pretrained(device="cpu")
    exact.denoiser.autocast = False
    a, b = (g.sample(flat, 4, seed=3)[0].positions for g in (shipped, exact))
    assert a.shape == b.shape and 0 < np.quantile(np.linalg.norm(a - b, axis=-1), 0.9) < 0.1


@pytest.mark.slow
def test_compiled_network_makes_the_same_conformers(molecules):
    eager, compiled = (ConformerGenerator.from_pretrained(device="cpu", compile=c, steps=5) for c in (False, True))
    for generator in (eager, compiled):
        generator.denoiser.autocast = False
    one, two = (g.sample(molecules[:3], 4, seed=3) for g in (eager, compiled))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=2e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_makes_the_same_conformers(molecules):
    one, two = (ConformerGenerator.from_pretrained(device=d).sample(molecules[:3], 4, seed=3) for d in ("cpu", "cuda"))
    for a, b in zip(one, two, strict=True):
        assert np.median(np.abs(a.positions - b.positions)) < 0.1


@pytest.mark.parametrize(
    ("mol", "error", "message"),
    [
        (None, TypeError, "got NoneType; RDKit returns None for what it cannot read"),
        ("CCO", TypeError, r"got str; Chem\.MolFromSmiles\('CCO'\) makes one"),
        (Chem.Mol(), ValueError, "no atoms"),
        (Chem.MolFromSmiles("c1ccccc1", sanitize=False), ValueError, r"not sanitized; call Chem\.SanitizeMol"),
    ],
)
def test_what_is_no_molecule_is_refused_before_anything_is_loaded(mol, error, message):
    with pytest.raises(error, match=message):
        embed_multiple_confs(mol)
