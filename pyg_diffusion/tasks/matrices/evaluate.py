"""Inverses scored against the true ones, conjugate gradients beside them."""

import argparse
import json
from typing import Any

import numpy as np
from scipy.sparse.linalg import cg

from ...console import Output, UsageError
from .files import read_matrices

OURS = "pyg_diffusion"
MEASURES = {"mse": "squared error per entry", "residual": "|A Y - I| per entry, root mean square"}


def conjugate_gradients(a: np.ndarray, steps: int) -> np.ndarray:
    """Y after so many conjugate gradient steps on A Y = I, or on AᵀA Y = Aᵀ where A is not symmetric positive definite."""
    target = np.eye(len(a))
    if not np.allclose(a, a.T) or np.linalg.eigvalsh(a)[0] <= 0:
        a, target = a.T @ a, a.T
    return np.stack([cg(a, column, rtol=0.0, maxiter=steps)[0] for column in target.T], axis=1)


def score(inverses: np.ndarray, matrices: np.ndarray) -> dict[str, float]:
    """Means over matrices and entries of (Y - A⁻¹)², and √ of that of (A Y - I)².

    Args:
        inverses: Y, `[S, n, n]`; matrices: A, `[S, n, n]`.
    """
    gap = matrices @ inverses - np.eye(matrices.shape[-1])
    return {
        "mse": float(np.square(inverses - np.linalg.inv(matrices)).mean()),
        "residual": float(np.sqrt(np.square(gap).mean())),
    }


def evaluate_matrices(inverses: np.ndarray, matrices: np.ndarray) -> dict[str, Any]:
    """Scores of given inverses, and of conjugate gradients after 1, 2, 4, ... and n steps; JSON-able."""
    n = matrices.shape[-1]
    counts = sorted({*(2**k for k in range(n.bit_length()) if 2**k < n), n})
    methods = {OURS: score(inverses, matrices)}
    for steps in counts:
        methods[f"CG, {steps} steps"] = score(np.stack([conjugate_gradients(a, steps) for a in matrices]), matrices)
    return {"kind": "matrices", "matrices": len(matrices), "n": n, "steps": counts, "methods": methods}


def table(result: dict[str, Any]) -> str:
    """Measures by method, a line each."""
    width = max(len(name) for name in result["methods"]) + 2
    lines = [" " * width + "".join(text.rjust(len(text) + 3) for text in MEASURES.values())]
    for name, row in result["methods"].items():
        lines.append(name.ljust(width) + "".join(f"{row[m]:.4g}".rjust(len(text) + 3) for m, text in MEASURES.items()))
    return "\n".join(lines)


def evaluate(args: argparse.Namespace) -> int:
    """`pyg-diffusion evaluate INVERSES.npy MATRICES.npy`; returns the exit status."""
    if args.reference is None:
        raise UsageError("inverses need the MATRICES.npy that they are of")
    out = Output(args.output, [args.generated, args.reference]) if args.output else None
    inverses, matrices = read_matrices(args.generated), read_matrices(args.reference)
    if inverses.shape != matrices.shape:
        raise UsageError(f"inverses {list(inverses.shape)} do not belong to matrices {list(matrices.shape)}")
    solvable = np.linalg.cond(matrices) < 1 / np.finfo(float).eps  # False for NaN
    if not solvable.all():
        raise UsageError(f"{args.reference}: matrix {int(np.argmin(solvable))} has no inverse")
    result = evaluate_matrices(inverses, matrices)
    if out is not None:
        with out:
            out.write(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0
