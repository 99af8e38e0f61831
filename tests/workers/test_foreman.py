"""Each block's result once and in order, whatever becomes of the workers."""

import random

import pytest

from pyg_diffusion.extras import MissingPackage
from pyg_diffusion.workers import ENGINES, Died, Failed, Finished, Foreman, Ready, WorkersLost


class Scripted:
    """A crew whose workers, numbered as they are hired, report in random order; some die as told.

    Args:
        dies: (worker, how many blocks it has had) -> whether it dies now; 0 blocks: before it begins.
    """

    def __init__(self, seed: int, dies=lambda worker, blocks: False):
        self.random, self.dies = random.Random(seed), dies
        self.hired, self.said, self.given, self.most_at_work = 0, [], [], 0
        self.had: dict[int, int] = {}
        self.at_work: set[int] = set()

    def hire(self):
        worker = self.hired
        self.hired += 1
        self.had[worker] = 0
        self.said.append((worker, Died("scripted") if self.dies(worker, 0) else Ready()))

    def give(self, worker, block):
        assert worker not in self.at_work
        self.at_work.add(worker)
        self.most_at_work = max(self.most_at_work, len(self.at_work))
        self.had[worker] += 1
        self.given.append(block)
        if self.dies(worker, self.had[worker]):
            self.said.append((worker, Died("scripted")))
        else:
            self.said.append((worker, Failed(KeyError(block)) if block < 0 else Finished(block**2)))

    def reports(self, wait):
        assert self.said or not wait, "all wait for each other"
        if not wait and self.random.random() < 0.5:
            return []
        self.random.shuffle(self.said)
        heard = [self.said.pop() for _ in range(self.random.randint(1, len(self.said)) if self.said else 0)]
        self.at_work -= {worker for worker, _ in heard}
        return heard


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [1, 3])
def test_every_result_once_in_order(seed, workers):
    accidents = random.Random(seed)
    crew = Scripted(seed, lambda worker, blocks: worker < 6 and worker % 3 > 0 and accidents.random() < 0.4)
    assert list(Foreman(crew, workers, range(40))) == [(k, k**2) for k in range(40)]
    assert set(crew.given) == set(range(40)) and crew.most_at_work <= workers


def test_no_more_workers_than_blocks_and_little_is_taken_ahead():
    crew = Scripted(0)
    assert len(list(Foreman(crew, 8, range(3)))) == 3 and crew.hired <= 3
    taken = []
    results = iter(Foreman(Scripted(1), 2, (taken.append(k) or k for k in range(1000))))
    assert next(results) == (0, 0) and len(taken) <= 7
    assert list(Foreman(Scripted(2), 2, [])) == []


def test_what_a_block_raises_is_raised_in_its_turn():
    results = iter(Foreman(Scripted(0), 2, [1, 2, -3, 4]))
    assert [next(results), next(results)] == [(1, 1), (2, 4)]
    with pytest.raises(KeyError, match="-3"):
        next(results)


def test_a_block_that_kills_and_workers_that_never_begin_are_errors():
    with pytest.raises(WorkersLost, match=r"3 workers died at 7 \(scripted\); is there too little memory"):
        list(Foreman(Scripted(0, lambda worker, blocks: blocks > 0), 1, [7]))
    with pytest.raises(WorkersLost, match="before they began"):
        list(Foreman(Scripted(0, lambda worker, blocks: blocks == 0), 2, [7]))


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pyg_diffusion.extras.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"--engine ray needs the package ray: pip install 'pyg_diffusion\[ray\]'"):
        ENGINES["ray"](None, gpus=False)
