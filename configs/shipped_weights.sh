#!/bin/sh
# The recipe of the shipped weights, from the public sources to runs/ensembles/weights.safetensors:
#     sh configs/shipped_weights.sh FULL
# FULL holds train/qm9.sdf.gz, train/dft8k.sdf.gz, dev/qm9_val.sdf.gz and smiles/zinc_drug_like.smi.gz. Where it does not, it is
# made by `python datasets/fetch.py FULL`: about 110 MB of downloads and 20 minutes on one core. To keep what you evaluate on out
# of it, run that yourself first, with --exclude FILE ...; datasets/README.md says how it differs from the files of the shipped
# weights. Then two to three hours of ensembles on one core (`prepare` takes all there are), and 95 and 260 minutes of training;
# every step is resumed where it was interrupted.
set -eu
full=$1
mkdir -p store runs
made() { [ -f "$1" ]; }
made "$full/smiles/zinc_drug_like.smi.gz" || python datasets/fetch.py "$full"
made store/qm9.h5 || pyg-diffusion prepare "$full/train/qm9.sdf.gz" --level "B3LYP/6-31G(2df,p)" -o store/qm9.h5
made store/dft8k.h5 || pyg-diffusion prepare "$full/train/dft8k.sdf.gz" --level "DFT (CASCADE)" -o store/dft8k.h5
made store/qm9_val.h5 || pyg-diffusion prepare "$full/dev/qm9_val.sdf.gz" --level "B3LYP/6-31G(2df,p)" -o store/qm9_val.h5
made store/zinc_mmff.smi || python datasets/draw_smiles.py "$full" store
made store/qm9_gfn2.h5 || pyg-diffusion prepare store/qm9_gfn2.smi --conformers 12 --level GFN2-xTB -o store/qm9_gfn2.h5
made store/qm9_mmff.h5 || pyg-diffusion prepare store/qm9_mmff.smi --conformers 12 --level MMFF94s -o store/qm9_mmff.h5
made store/qm9_flexible_gfn2.h5 ||
    pyg-diffusion prepare store/qm9_flexible_gfn2.smi --conformers 12 --level GFN2-xTB -o store/qm9_flexible_gfn2.h5
made store/qm9_flexible_mmff.h5 ||
    pyg-diffusion prepare store/qm9_flexible_mmff.smi --conformers 24 --level MMFF94s -o store/qm9_flexible_mmff.h5
made store/zinc_mmff.h5 || pyg-diffusion prepare store/zinc_mmff.smi --conformers 6 --level MMFF94s -o store/zinc_mmff.h5
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
train configs/conformers_cpu.yaml runs/first
train configs/conformers_ensembles.yaml runs/ensembles train.init_from=runs/first
