"""Jobs of SLURM: the file for `sbatch`, and the commands of the installed SLURM."""
