"""A cluster of two raylets on this machine gives the bytes of one process, also where one of them is killed on the way."""

from importlib.util import find_spec

import psutil
import pytest

from pyg_diffusion.cli import main
from pyg_diffusion.tasks.molecules import sample
from pyg_diffusion.workers.ray_actors import Actors

pytestmark = pytest.mark.slow

STORE = 80 * 2**20  # bytes, the least that Ray takes
QUICK = ["-n", "2", "--steps", "2", "--no-confidence", "--seed", "3", "--quiet"]


@pytest.fixture(scope="module")
def cluster(lacking):
    if find_spec("ray") is None:
        lacking("Ray is not installed (pip install 'pyg_diffusion[ray]')")
    import ray
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=settings)
    try:
        ray.init(address=found.address, log_to_driver=False, logging_level="error")
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def run(source, out, *options) -> bytes:
    assert main(["sample", str(source), *QUICK, "-o", str(out), *options]) == 0
    return out.read_bytes()


def test_two_raylets_one_of_them_killed_give_the_bytes_of_one_process(cluster, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(sample, "CHUNK", 4)
    source = tmp_path / "in.smi"
    source.write_text("".join(f"{'C' * (1 + k % 4)}O m{k}\n" for k in range(60)))
    slow = ["--steps", "60"]  # so that a block is under way when its raylet dies
    one = run(source, tmp_path / "one.sdf", *slow, "-j", "1")
    other = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    assert ray.cluster_resources()["CPU"] == 2
    given, hired, killed = [], [], []

    def give(self, worker, block):
        original["give"](self, worker, block)
        given.append(worker)
        if len(given) >= 4 and len(set(given)) == 2 and not killed:  # both are at work, one of them on the other raylet
            machine = psutil.Process(other.all_processes["raylet"][0].process.pid)
            killed.extend([*machine.children(recursive=True), machine])  # its workers too, or they end their block
            for process in killed:
                process.kill()

    def hire(self):
        hired.append(1)
        original["hire"](self)

    original = {"give": Actors.give, "hire": Actors.hire}
    monkeypatch.setattr(Actors, "give", give)
    monkeypatch.setattr(Actors, "hire", hire)
    two = run(source, tmp_path / "two.sdf", *slow, "--engine", "ray")
    assert killed and two == one
    assert len(given) > 15 and len(hired) > 2, "the block that was lost was given to another, and the actor replaced"
    assert [node["Alive"] for node in ray.nodes()].count(True) == 1
