"""What all trainers share: configuration, data and split, the loop, resuming, publishing, report.

Nothing here imports TensorFlow or torch; a family brings its network as a `Learner`.
"""
