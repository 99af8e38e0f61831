from rdkit import Chem, rdBase

from pyg_diffusion.chem.rdkit_log import rdkit_log


def test_messages_are_collected_once_without_time_and_not_printed(capfd):
    with rdkit_log() as messages:
        assert Chem.MolFromSmiles("c1cccc1") is None
    assert messages == ["Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4"]
    assert capfd.readouterr() == ("", "")
    assert Chem.MolFromSmiles("C(C)(C)(C)(C)C") is None
    assert "valence" in capfd.readouterr().err


def test_what_was_blocked_stays_blocked(capfd):
    with rdBase.BlockLogs():
        with rdkit_log() as messages:
            Chem.MolFromSmiles("C(C)(C)(C)(C)C")
        Chem.MolFromSmiles("c1cccc1")
    assert len(messages) == 1 and "valence" in messages[0]
    assert capfd.readouterr() == ("", "")
