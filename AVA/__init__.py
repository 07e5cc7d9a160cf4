"""Aesthetic quality: the models trained on AVA."""
