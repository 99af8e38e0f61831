"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Counts:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "pyg_diffusion"
        self.answers = Counter(f"{name}_answers", "Answers by status", ["status"], registry=self.registry)
        self.conformers = Counter(f"{name}_conformers", "Conformers made", registry=self.registry)
        self.waiting = Gauge(f"{name}_waiting_jobs", "Jobs that wait or run", registry=self.registry)
        self.seconds = Histogram(
            f"{name}_job_seconds", "From a request's arrival to its end", buckets=SECONDS, registry=self.registry
        )
        self.batch_jobs = Histogram(
            f"{name}_batch_jobs", "Requests drawn together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.batch_molecules = Histogram(
            f"{name}_batch_molecules", "Molecules drawn together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.batch_seconds = Histogram(f"{name}_batch_seconds", "Drawing a batch", buckets=SECONDS, registry=self.registry)

    def batch(self, jobs: int, molecules: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_jobs.observe(jobs)
        self.batch_molecules.observe(molecules)
        self.batch_seconds.observe(seconds)
