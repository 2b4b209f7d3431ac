"""The preprocess service: decodes and resizes pictures, and maps the boxes back."""
