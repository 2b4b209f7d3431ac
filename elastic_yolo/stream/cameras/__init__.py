"""Cameras and video files as sources of a stream."""
