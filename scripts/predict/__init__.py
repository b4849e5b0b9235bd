"""Judges the engine's predictor beside what a data scientist would reach for."""
