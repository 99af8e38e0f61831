"""The table of installations: versions that work, and what they take."""

from tables import read, rendered, table

DIRECT = {"torch": "torch", "torch-geometric": "PyG", "rdkit": "RDKit", "numpy": "NumPy", "scipy": "SciPy"}


def _mb(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


@table
def installs() -> str:
    """Each Python, with the newest and the lowest versions allowed."""
    rows = []
    for r in sorted(read("install")["rows"], key=lambda r: (r["python"], r["versions"] == "lowest")):
        took = ["-"] * 4
        if "disk_mb" in r:
            took = [str(r["packages"]), _mb(r["disk_mb"]), _mb(r["torch_mb"]), f"{r['seconds']:.0f}"]
        rows.append([f"{r['python']}, {r['versions']}", *[r["direct"][name] for name in DIRECT], *took])
    return rendered(["Python, versions", *DIRECT.values(), "packages", "MB", "of it torch", "s"], rows, "install")
