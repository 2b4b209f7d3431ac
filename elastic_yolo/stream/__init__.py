"""Detection in pictures as they arrive: sources, sinks, and what runs between them."""
