"""Detection in many pictures at once: a job that ends, can be killed, and goes on."""
