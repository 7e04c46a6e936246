"""Trainings and long predictions: ordered, followed, cancelled, found again."""
