"""Tables of installations: versions that work and what they take; layers with torch-scatter."""

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


@table
def scatter() -> str:
    """Layers without torch-scatter and with it."""
    found = read("scatter")["rows"]
    cells = {(r["layer"], r["graphs"]): f"{1e3 * r['without_s']:.1f} / {1e3 * r['with_s']:.1f}" for r in found}
    graphs = list(dict.fromkeys(r["graphs"] for r in found))
    rows = [[f"`{layer}`", *[cells[layer, graph] for graph in graphs]] for layer in dict.fromkeys(r["layer"] for r in found)]
    worst = max(max(r["with_difference"], r["kernels_difference"]) for r in found)
    rows.append(["largest difference of a result or gradient", f"{worst:.0e}" if worst else "0", *[""] * (len(graphs) - 1)])
    return rendered(["layer, ms without / with", *graphs], rows, "scatter")
