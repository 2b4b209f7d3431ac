"""The preprocess service: decodes and letterboxes pictures, and maps the boxes back."""
