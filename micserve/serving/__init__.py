"""What all inference services and the gateway share: settings, problems, probes, metrics, the pool.

`inference` is the use case in plain Python; `app` is HTTP around it and knows
nothing of pixels; `bento` hangs the app into a BentoML service. Nothing is
imported here, so that a supervising process stays small.
"""
