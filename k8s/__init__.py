"""Manifests for Kubernetes, and the two programs that write parts of them."""
