"""The versions of a model: loading, switching, comparing and watching them."""
