"""Saliency maps: which parts of a picture the score of a detection depends on."""
