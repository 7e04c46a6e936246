"""Where jobs run: on this machine, on a Slurm cluster, on Kubernetes. One module each."""
