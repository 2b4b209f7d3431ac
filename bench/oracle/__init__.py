"""What this project is compared with, and what it is compared on."""
