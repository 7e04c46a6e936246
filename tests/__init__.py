"""Tests of micserve."""
