"""`slipway submit`: a training as a job of SLURM or Kubernetes: written, handed in, followed."""
