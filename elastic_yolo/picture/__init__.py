"""Pictures as files: what their bytes say without being decoded, and boxes drawn into them."""
