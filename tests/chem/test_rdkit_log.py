import threading

from rdkit import Chem, rdBase

from pyg_diffusion.chem.rdkit_log import rdkit_counts, rdkit_log


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


def test_a_collection_inside_another_takes_its_own_messages_and_other_threads_are_left_alone(capfd):
    with rdkit_counts() as counts:
        Chem.MolFromSmiles("C(C)(C)(C)(C)C")
        with rdkit_log() as inner:
            Chem.MolFromSmiles("c1cccc1")
        Chem.MolFromSmiles("C[N](C)(C)C")
        thread = threading.Thread(target=Chem.MolFromSmiles, args=("CC=O(C)C",))
        thread.start()
        thread.join()
        Chem.MolFromSmiles("CC(C)(C)(C)C")
    assert counts == {
        "Explicit valence for atom # 0 C, 5, is greater than permitted": 2,  # counted as the first of its kind
        "Explicit valence for atom # 1 N, 4, is greater than permitted": 1,
    }
    assert inner == ["Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4"]
    capfd.readouterr()
    Chem.MolFromSmiles("CC=O(C)C")  # printed again, by RDKit itself
    assert "valence for atom # 2 O" in capfd.readouterr().err
