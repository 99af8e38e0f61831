#!/bin/sh
# Weights of two stages like the shipped ones, from the public sources to runs/conformers.safetensors:
#     sh configs/shipped_weights.sh FULL
# FULL holds train/qm9.sdf.gz, train/dft8k.sdf.gz and smiles/zinc_drug_like.smi.gz. Where it does not, it is made by
# `python datasets/fetch.py FULL`: about 110 MB of downloads and 20 minutes on one core. To keep what you evaluate on out of it, run
# that yourself first, with --exclude FILE ...; datasets/README.md says how it differs from the files of the shipped weights, which
# also saw ensembles of MoleculeNet's molecules. Then some hours of ensembles on one core (`prepare` takes all there are), four of
# training the heavy atoms and one the hydrogens; every step is resumed where it was interrupted.
set -eu
full=$1
mkdir -p store runs
made() { [ -f "$1" ]; }
made "$full/smiles/zinc_drug_like.smi.gz" || python datasets/fetch.py "$full"
made store/qm9.h5 || pyg-diffusion prepare "$full/train/qm9.sdf.gz" --level "B3LYP/6-31G(2df,p)" -o store/qm9.h5
made store/dft8k.h5 || pyg-diffusion prepare "$full/train/dft8k.sdf.gz" --level "DFT (CASCADE)" -o store/dft8k.h5
made store/zinc_mmff.smi || python datasets/draw_smiles.py "$full" store
made store/qm9_gfn2.h5 || pyg-diffusion prepare store/qm9_gfn2.smi --conformers 12 --level GFN2-xTB -o store/qm9_gfn2.h5
made store/qm9_mmff.h5 || pyg-diffusion prepare store/qm9_mmff.smi --conformers 12 --level MMFF94s -o store/qm9_mmff.h5
made store/qm9_flexible_gfn2.h5 ||
    pyg-diffusion prepare store/qm9_flexible_gfn2.smi --conformers 12 --level GFN2-xTB -o store/qm9_flexible_gfn2.h5
made store/qm9_flexible_mmff.h5 ||
    pyg-diffusion prepare store/qm9_flexible_mmff.smi --conformers 24 --level MMFF94s -o store/qm9_flexible_mmff.h5
made store/zinc.h5 ||
    pyg-diffusion prepare store/zinc_mmff.smi --conformers 20 --level "MMFF94s(eps=4)" --window 12 --keep 10 -o store/zinc.h5
train() { # RECIPE RUN [override ...]
    recipe=$1
    run=$2
    shift 2
    if made "$run/weights.safetensors" && [ ! -f "$run/unfinished" ]; then return; fi
    mkdir -p "$run"
    touch "$run/unfinished"
    if made "$run/last.ckpt"; then set -- "$@" --resume; fi
    pyg-diffusion train "$recipe" -o "$run" "$@"
    rm "$run/unfinished"
}
stores='["store/qm9.h5","store/dft8k.h5","store/qm9_gfn2.h5","store/qm9_flexible_gfn2.h5","store/qm9_mmff.h5","store/qm9_flexible_mmff.h5","store/zinc.h5"]'
train configs/heavy_cpu.yaml runs/heavy "data.store=$stores" "data.repeat=[1,1,4,4,2,2,3]" train.max_minutes=260
train configs/hydrogens_cpu.yaml runs/hydrogens "data.store=$stores" "data.repeat=[1,1,4,4,1,1,1]"
python -c "from pyg_diffusion.weights_io import join_stages
join_stages('runs/heavy', 'runs/hydrogens', 'runs/conformers.safetensors')"
